"""``gpu-learning bench train``: one config against the course's loop and Lightning's defaults."""

import copy
import json
import logging
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
from scripts.bench.timing import device_name, ratios, summary, take_turns, waiter
from scripts.parser import Parser
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
        waiter(pl_module.device)()
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


def _torchvision_loader(data: MNISTDataModule) -> DataLoader:
    from torchvision import transforms
    from torchvision.datasets import MNIST

    steps = [transforms.ToTensor(), transforms.Normalize((data.mean,), (data.std,))]
    dataset = MNIST(data.root, train=True, transform=transforms.Compose(steps))
    return DataLoader(dataset, batch_size=data.batch_size, shuffle=True)


def course_epoch(
    net: torch.nn.Module, loader: DataLoader, device: torch.device, steps: int
) -> float:
    """Seconds per step of the course's loop: one image at a time, ``item()`` each step."""
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
    waiter(device)()
    return (time.perf_counter() - began) / steps


def fit_epoch(trainer: pl.Trainer, model: pl.LightningModule, data: Any, steps: int) -> float:
    """Seconds per optimizer step of the second epoch, everything between two epochs included."""
    timer = EpochTimer()
    trainer.callbacks.insert(0, timer)
    if isinstance(data, pl.LightningDataModule):
        trainer.fit(model, datamodule=data)
    else:
        trainer.fit(model, data)
    return (timer.starts[2] - timer.starts[1]) / steps


def gpu_seconds(cli: TrainCLI, steps: int, trace: str | None) -> float:
    """Seconds that the GPU computes in an optimizer step, summed over its kernels; 0 on a CPU.

    Args:
        cli: a run of ``steps`` steps; it is trained under PyTorch's profiler.
        steps: optimizer steps of that run.
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
        waiter(cli.trainer.strategy.root_device)()
    if trace:
        profile.export_chrome_trace(trace)
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6 / steps


@contextmanager
def as_torch_starts() -> Iterator[None]:
    """For what is compared: without what :class:`TrainCLI` sets for steps on a CPU."""
    torch.set_flush_denormal(False)
    try:
        yield
    finally:
        torch.set_flush_denormal(True)


@contextmanager
def silent() -> Iterator[None]:
    level = logging.getLogger("lightning.pytorch").level
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger("lightning.pytorch").setLevel(level)


def arms(options: Sequence[str], steps: int) -> dict[str, Callable[[], float]]:
    """Name to a function that trains from scratch and returns seconds per step."""
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
        return fit_epoch(cli.trainer, cli.model, cli.datamodule, steps)

    def plain_lightning() -> float:
        trainer = pl.Trainer(
            max_epochs=2,
            limit_train_batches=steps,
            accelerator=device.type,
            devices=1,
            default_root_dir="logs/bench",
            enable_model_summary=False,
        )
        with as_torch_starts():
            return fit_epoch(trainer, PlainLightning(copy.deepcopy(net)), loader, steps)

    def course() -> float:
        with as_torch_starts():
            return course_epoch(copy.deepcopy(net), loader, device, steps)

    return {
        "course": course,
        "lightning": plain_lightning,
        "ours": lambda: ours("--trainer.logger.init_args.name=bench"),
        "ours, logger and bar off": lambda: ours(*OFF),
    }


def main(argv: Sequence[str]) -> int:
    """Prints a table of microseconds per step and ratios to the course's loop."""
    parser = Parser("gpu-learning bench train", description=__doc__)
    parser.add_argument("--steps", type=int, default=1875, help="optimizer steps per epoch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument(
        "--trace",
        metavar="FILE.json",
        help="a trace of 100 steps; https://ui.perfetto.dev opens it",
    )
    arguments, options = parser.parse_known_args(argv[1:])
    quiet()
    with silent(), redirect_stdout(sys.stderr):  # what the runs say is not the report
        runs = arms([*options, "--trainer.enable_model_summary=false"], arguments.steps)
        seconds = take_turns(runs, arguments.repeats)
        few = min(100, arguments.steps)
        limits = ["--trainer.max_epochs=1", f"--trainer.limit_train_batches={few}"]
        watched = TrainCLI(["fit", *options, *limits, *OFF], run=False)
        busy = gpu_seconds(watched, few, arguments.trace) * 1e6
        device = watched.trainer.strategy.root_device.type
    report = _report(seconds, watched.datamodule.batch_size)
    row = report["ours, logger and bar off"]
    row["gpu"], row["host"] = busy, max(0.0, row["median"] - busy)
    if arguments.json:
        print(json.dumps(report, indent=2))
        return 0
    print(f"{device_name(device)}, torch {torch.__version__}, n={arguments.repeats}")
    columns = "us/step", "q25", "q75", "min", "max"
    print(f"{'':<26}{''.join(f'{name:>10}' for name in columns)}{'ratio':>8}{'images/s':>12}")
    for name, row in report.items():
        cells = (row[key] for key in ("median", "q25", "q75", "min", "max"))
        print(
            f"{name:<26}{''.join(f'{cell:>10.0f}' for cell in cells)}"
            f"{row['ratio']:>8.2f}{row['images_per_second']:>12,.0f}"
        )
    print(limit(row["gpu"], row["host"]))
    return 0


def limit(gpu: float, host: float) -> str:
    """Says what a step of the last row waits for; both in microseconds per step."""
    if not gpu:
        return "There is no GPU in these runs: the host computes each step, and is the limit."
    return (
        f"In a step of the last row the GPU computes for {gpu:.0f} us and waits for the host for "
        f"{host:.0f} us: the {'GPU' if gpu > host else 'host'} is the limit."
    )


def _report(seconds: dict[str, list[float]], batch_size: int) -> dict[str, dict[str, float]]:
    report = {}
    for name, values in seconds.items():
        row = summary([value * 1e6 for value in values])
        report[name] = row | {
            "ratio": ratios(seconds["course"], values)["median"],
            "images_per_second": batch_size * 1e6 / row["median"],
        }
    return report
