"""``gpu-learning bench train``: one config against the course's loop and Lightning's defaults."""

import argparse
import copy
import json
import logging
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from datamodules import MNISTDataModule
from training.cli import TrainCLI
from training.quiet import quiet

OFF = ["--trainer.logger=false", "--trainer.enable_progress_bar=false"]


class EpochTimer(pl.Callback):
    """Seconds from the start of one epoch to the start of the next: all that an epoch costs."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._mark(pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._mark(pl_module)

    def _mark(self, pl_module: pl.LightningModule) -> None:
        _wait(pl_module.device)
        self.starts.append(time.perf_counter())


class PlainLightning(pl.LightningModule):
    """What a first Lightning tutorial writes: the same net, Adam, a logged loss."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _torchvision_loader(data: MNISTDataModule) -> DataLoader:
    from torchvision import transforms
    from torchvision.datasets import MNIST

    steps = [transforms.ToTensor(), transforms.Normalize((data.mean,), (data.std,))]
    dataset = MNIST(data.root, train=True, transform=transforms.Compose(steps))
    return DataLoader(dataset, batch_size=data.batch_size, shuffle=True)


def _course_epoch(
    net: torch.nn.Module, loader: DataLoader, device: torch.device, steps: int
) -> float:
    """Seconds an optimiser step of the course's loop: one image at a time, ``item()`` each step."""
    net = net.to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    running = 0.0
    began = time.perf_counter()
    for step, (images, labels) in enumerate(loader):
        if step == steps:
            break
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        running += loss.item()
    _wait(device)
    return (time.perf_counter() - began) / steps


def _fit_epoch(trainer: pl.Trainer, model: pl.LightningModule, data: Any, steps: int) -> float:
    """Seconds an optimiser step of the second epoch, everything between two epochs included."""
    timer = EpochTimer()
    trainer.callbacks.insert(0, timer)
    if isinstance(data, pl.LightningDataModule):
        trainer.fit(model, datamodule=data)
    else:
        trainer.fit(model, data)
    return (timer.starts[2] - timer.starts[1]) / steps


def gpu_seconds(cli: TrainCLI, steps: int, trace: str | None) -> float:
    """Seconds that the GPU computes in an optimiser step, summed over its kernels; 0 on a CPU.

    Args:
        cli: a run of ``steps`` steps; it is trained under PyTorch's profiler.
        steps: optimiser steps of that run.
        trace: file for a trace that https://ui.perfetto.dev opens, or None.
    """
    Activity = torch.profiler.ProfilerActivity
    on_gpu = cli.trainer.strategy.root_device.type == "cuda"
    activities = [Activity.CUDA] if on_gpu else []
    if trace or not on_gpu:
        activities.append(Activity.CPU)
    # Without acc_events torch 2.11 warns that it forgets the events of other cycles.
    with torch.profiler.profile(activities=activities, acc_events=True) as profile:
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
        _wait(cli.trainer.strategy.root_device)
    if trace:
        profile.export_chrome_trace(trace)
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6 / steps


@contextmanager
def _as_torch_starts() -> Iterator[None]:
    """For what is compared: without what :class:`TrainCLI` sets for steps on a CPU."""
    torch.set_flush_denormal(False)
    try:
        yield
    finally:
        torch.set_flush_denormal(True)


@contextmanager
def _silent() -> Iterator[None]:
    level = logging.getLogger("lightning.pytorch").level
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger("lightning.pytorch").setLevel(level)


def arms(options: Sequence[str], steps: int) -> dict[str, Callable[[], float]]:
    """What is compared: name to a function that trains anew and gives seconds a step."""
    limits = ["--trainer.max_epochs=2", f"--trainer.limit_train_batches={steps}"]

    def built(*more: str) -> TrainCLI:
        return TrainCLI(["fit", *options, *limits, *more], run=False)

    first = built()
    data = first.datamodule
    if not isinstance(data, MNISTDataModule):
        raise ValueError(
            "bench train compares with torchvision's MNIST: name a config that uses it"
        )
    data.prepare_data()
    loader = _torchvision_loader(data)
    net = copy.deepcopy(first.model.net).to(memory_format=torch.contiguous_format)
    device = first.trainer.strategy.root_device

    def ours(*more: str) -> float:
        cli = built(*more)
        return _fit_epoch(cli.trainer, cli.model, cli.datamodule, steps)

    def plain_lightning() -> float:
        trainer = pl.Trainer(
            max_epochs=2,
            limit_train_batches=steps,
            accelerator=device.type,
            devices=1,
            default_root_dir="logs/bench",
            enable_model_summary=False,
        )
        with _as_torch_starts():
            return _fit_epoch(trainer, PlainLightning(copy.deepcopy(net)), loader, steps)

    def course() -> float:
        with _as_torch_starts():
            return _course_epoch(copy.deepcopy(net), loader, device, steps)

    return {
        "course": course,
        "lightning": plain_lightning,
        "ours": lambda: ours("--trainer.logger.init_args.name=bench"),
        "ours, logger and bar off": lambda: ours(*OFF),
    }


def main(argv: Sequence[str]) -> int:
    """Prints a table of microseconds a step and ratios to the course's loop."""
    parser = argparse.ArgumentParser("gpu-learning bench train", description=__doc__)
    parser.add_argument("--steps", type=int, default=1875, help="optimiser steps an epoch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument(
        "--trace",
        metavar="FILE.json",
        help="a trace of 100 steps; https://ui.perfetto.dev opens it",
    )
    arguments, options = parser.parse_known_args(argv[1:])
    quiet()
    with _silent(), redirect_stdout(sys.stderr):  # what the runs say is not the report
        runs = arms([*options, "--trainer.enable_model_summary=false"], arguments.steps)
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        # In turn, so that a machine whose speed drifts slows all of them alike.
        for _ in range(arguments.repeats):
            for name, run in runs.items():
                seconds[name].append(run())
        few = min(100, arguments.steps)
        limits = ["--trainer.max_epochs=1", f"--trainer.limit_train_batches={few}"]
        watched = TrainCLI(["fit", *options, *limits, *OFF], run=False)
        busy = gpu_seconds(watched, few, arguments.trace) * 1e6
    report = _report(seconds, watched.datamodule.batch_size)
    row = report["ours, logger and bar off"]
    row["gpu"], row["host"] = busy, max(0.0, row["median"] - busy)
    if arguments.json:
        print(json.dumps(report, indent=2))
        return 0
    print(f"{'':<26}{'us/step':>10}{'min':>10}{'max':>10}{'ratio':>8}{'images/s':>12}")
    for name, row in report.items():
        print(
            f"{name:<26}{row['median']:>10.0f}{row['min']:>10.0f}{row['max']:>10.0f}"
            f"{row['ratio']:>8.2f}{row['images_per_second']:>12,.0f}"
        )
    print(limit(row["gpu"], row["host"]))
    return 0


def limit(gpu: float, host: float) -> str:
    """Says what a step of the last row waits for; both in microseconds a step."""
    if not gpu:
        return "There is no GPU in these runs: the host computes each step, and is the limit."
    return (
        f"In a step of the last row the GPU computes for {gpu:.0f} us and waits for the host for "
        f"{host:.0f} us: the {'GPU' if gpu > host else 'host'} is the limit."
    )


def _report(seconds: dict[str, list[float]], batch_size: int) -> dict[str, dict[str, float]]:
    report = {}
    for name, values in seconds.items():
        ratios = [value / course for value, course in zip(values, seconds["course"], strict=True)]
        report[name] = {
            "median": statistics.median(values) * 1e6,
            "min": min(values) * 1e6,
            "max": max(values) * 1e6,
            "ratio": statistics.median(ratios),
            "images_per_second": batch_size / statistics.median(values),
        }
    return report
