"""``gpu-learning bench ladder``: what each rung brings, from the plain loop to own kernels."""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from course.kernels import environment
from datamodules import CharTextDataModule
from lightning_modules import MiniGPT
from lightning_modules.nets.gpt import GPT, GPTConfig
from scripts.bench.timing import machine, ratios, summary, table, take_turns
from scripts.bench.train import OFF, as_torch_starts, course_epoch, fit_epoch, silent
from training.cli import TrainCLI
from training.quiet import quiet

LOOP, FIRST = "the course's loop", "Lightning, resident data"
NEEDS_GPU = "needs a CUDA GPU"
DEFAULT = ("-c", "configs/mini_gpt_shakespeare.yaml")
# What a config brings beside model and data, which a rung adds again. Kernels have no dropout.
PLAIN = (
    *OFF,
    "--trainer.callbacks=[]",
    "--trainer.strategy=auto",
    "--trainer.precision=32-true",
    "--trainer.enable_model_summary=false",
    "--trainer.num_sanity_val_steps=0",
    "--trainer.limit_val_batches=0",
    "--trainer.max_epochs=2",
    "--checkpoint=null",
    "--model.init_args.dropout=0",
)


@dataclass(frozen=True)
class Rung:
    """One step of the ladder: what it adds to all before it.

    Args:
        name: as the table has it.
        options: of ``gpu-learning fit``.
        needs_gpu: it is skipped without one.
    """

    name: str
    options: tuple[str, ...]
    needs_gpu: bool = False


def rungs(batch_size: int, larger: int) -> list[Rung]:
    """The ladder above the plain loop."""
    kernels = ("callbacks+=callbacks.UseKernels", "callbacks.init_args.ops=course.kernels.ops")
    return [
        Rung(FIRST, (f"--data.init_args.batch_size={batch_size}",)),
        Rung("larger batch", (f"--data.init_args.batch_size={larger}",)),
        Rung("bf16", ("--trainer.precision=bf16-mixed",)),
        Rung("compile", ("--trainer.callbacks+=callbacks.Compile",)),
        Rung("CUDA graph", ("--trainer.strategy=cuda_graph",), needs_gpu=True),
        Rung("own kernels", tuple(f"--trainer.{key}" for key in kernels), needs_gpu=True),
    ]


def skipped(rung: Rung, device: torch.device) -> str:
    """Why a rung cannot be measured here; empty where it can."""
    if rung.needs_gpu and device.type != "cuda":
        return NEEDS_GPU
    if rung.name != "own kernels":
        return ""
    try:
        environment.require(["triton"])
    except environment.Unavailable as missing:
        return str(missing)
    return "" if environment.on_gpu() else environment.where()


class Windows(Dataset):
    """Windows of a text and what follows each of their tokens, one at a time."""

    def __init__(self, text: Tensor, context: int) -> None:
        self.text, self.context = text.long(), context

    def __len__(self) -> int:
        return len(self.text) - self.context

    def __getitem__(self, start: int) -> tuple[Tensor, Tensor]:
        window = self.text[start : start + self.context + 1]
        return window[:-1], window[1:]


class ByClass(nn.Module):
    """The logits as :func:`torch.nn.functional.cross_entropy` takes them: (B, vocab_size, T)."""

    def __init__(self, net: GPT) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: Tensor) -> Tensor:
        return self.net(ids).transpose(1, 2)


def plain_loop(options: Sequence[str], batch_size: int, steps: int) -> float:
    """Seconds per step of a loop written by hand, as in step 22; three steps are not counted."""
    cli = TrainCLI(["fit", *options], run=False)
    data, device = cli.datamodule, cli.trainer.strategy.root_device
    data.prepare_data()
    data.setup("fit")
    given = {**cli.model.hparams, "vocab_size": data.tokenizer.vocab_size}
    config = GPTConfig(**{field.name: given[field.name] for field in fields(GPTConfig)})
    text = Windows(data._splits["train"], data.context)
    loader, net = DataLoader(text, batch_size=batch_size, shuffle=True), ByClass(GPT(config))
    with as_torch_starts():
        course_epoch(net, loader, device, 3)
        return course_epoch(net, loader, device, steps)


def fitted(options: Sequence[str], steps: int) -> float:
    """Seconds per step of the second epoch of a fit; the first one compiles and captures."""
    # Of one function torch.compile keeps eight versions, and then runs it as it is.
    torch.compiler.reset()
    cli = TrainCLI(["fit", *options, f"--data.init_args.batches={steps}"], run=False)
    return fit_epoch(cli.trainer, cli.model, cli.datamodule, steps)


def measure(options: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Tokens per second of each rung that this machine has, and why the others are skipped.

    Raises:
        ValueError: a config of another model or other data.
    """
    given = list(options or DEFAULT)
    first = TrainCLI(["fit", *given, *OFF, "--trainer.callbacks=[]"], run=False)
    if not isinstance(first.model, MiniGPT) or not isinstance(first.datamodule, CharTextDataModule):
        raise ValueError(
            "bench ladder trains a MiniGPT on a text: name a config such as "
            "configs/mini_gpt_cpu.yaml, or none"
        )
    device, context = first.trainer.strategy.root_device, first.datamodule.context
    small, larger, steps = arguments.batch_size, arguments.larger, arguments.steps
    base = [*given, *PLAIN]
    candidates = {LOOP: lambda: small * context / plain_loop(base, small, steps)}
    reasons, flags = {}, {LOOP: ""}
    for rung in rungs(small, larger):
        flags[rung.name] = " ".join(rung.options)
        if reason := skipped(rung, device):
            reasons[rung.name] = reason
            continue
        base = [*base, *rung.options]
        tokens = context * (small if rung.name == FIRST else larger)
        candidates[rung.name] = partial(_tokens_per_second, base, tokens, steps)
    measured = take_turns(candidates, arguments.rounds)
    loop = measured[LOOP]
    return {
        **machine(device.type),
        "options": given,
        "steps": steps,
        "flags": flags,
        "skipped": reasons,
        "tokens_per_second": {name: summary(values) for name, values in measured.items()},
        # Round by round: a machine whose speed drifts slows all rungs of a round alike.
        "times_loop": {name: ratios(loop, values) for name, values in measured.items()},
    }


def _tokens_per_second(options: list[str], tokens: int, steps: int) -> float:
    return tokens / fitted(options, steps)


def draw(report: dict[str, Any]) -> Figure:
    """A bar per rung, from the loop on: times the loop, with quartiles; tokens beside it."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="times the loop, round by round", title=report["where"])
    times, names = report["times_loop"], list(report["flags"])
    for position, name in enumerate(names):
        text, at = f" skipped: {report['skipped'].get(name)}", 0.0
        if name in times:
            middle, at = times[name]["median"], times[name]["q75"]
            ends = [[middle - times[name]["q25"]], [at - middle]]
            axes.barh(position, middle, xerr=ends, color="C0", ecolor="black", capsize=3)
            text = f" {report['tokens_per_second'][name]['median']:,.0f} tokens/s"
        axes.text(at, position, text, va="center")
    most = max(row["q75"] for row in times.values())
    axes.set(xlim=(0, 1.3 * most), ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names)
    axes.grid(axis="x", alpha=0.3)
    return figure


def main(argv: Sequence[str]) -> int:
    """Prints one row per rung, and what each one adds."""
    parser = _parser()
    arguments, options = parser.parse_known_args(argv[1:])
    for name in ("batch_size", "larger", "steps", "rounds"):
        if (value := getattr(arguments, name)) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    quiet()
    if arguments.read:
        report = _read(arguments.read)
    else:
        with silent(), redirect_stdout(sys.stderr):  # what the runs say is not the report
            report = measure(options, arguments)
    if arguments.picture:
        draw(report).savefig(arguments.picture, dpi=100)
    if arguments.json:
        print(json.dumps(report, indent=2))
        return 0
    print("{where}, {threads} threads, torch {torch}, {steps} steps".format(**report))
    print(table(report["tokens_per_second"], "tokens/s"))
    print("\nround by round, times the loop:")
    print(table(report["times_loop"], "times"))
    for name, reason in report["skipped"].items():
        print(f"{name}: skipped, {reason}")
    print("\neach rung adds:")
    for name, flag in report["flags"].items():
        print(f"{name:<26}{flag}")
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text())
    except FileNotFoundError as missing:
        raise ValueError(f"there is no {path}; bench ladder --json > {path} writes it") from missing
    except ValueError:
        report = None
    if not isinstance(report, dict) or not {
        "tokens_per_second",
        "times_loop",
        "flags",
        "skipped",
    } <= set(report):
        raise ValueError(f"{path} is not what bench ladder --json prints")
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "gpu-learning bench ladder",
        description="Trains a MiniGPT by a loop written by hand, then by the Trainer, with one "
        "option more each time. The rungs take turns; those that need a GPU are skipped without.",
        epilog=f"All other options are those of gpu-learning fit; none is {' '.join(DEFAULT)}",
    )
    parser.add_argument("--batch-size", type=int, default=16, help="of the first (%(default)s)")
    parser.add_argument("--larger", type=int, default=64, help="batch size then (%(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="that count (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument(
        "--read", type=Path, metavar="FILE.json", help="a report of --json, in place of measuring"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draws the report")
    return parser
