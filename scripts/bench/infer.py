"""``gpu-learning bench infer``: every file of an artifact against the eager net, in one run."""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from exporting.images import Source, read_source
from inference.manifest import Manifest, read_manifest
from scripts.bench.infer_candidates import accuracies, eager_arms, file_arms, measure, one_core
from scripts.bench.timing import device_name
from scripts.parser import Parser


def draw(results: dict[str, dict[int, dict[str, float]]], title: str) -> Figure:
    """Throughput over batch size, one line per candidate."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(
        xscale="log", yscale="log", xlabel="batch size", ylabel="images per second", title=title
    )
    markers = "osv^D<>Pp*hX"
    for number, (name, row) in enumerate(results.items()):
        axes.plot(
            list(row),
            [cell["per_second"] for cell in row.values()],
            marker=markers[number % len(markers)],
            linestyle="--" if name.startswith("eager") else "-",
            label=name,
        )
    batches = list(next(iter(results.values())))
    axes.set_xticks(batches, [f"{batch:,}" for batch in batches])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def main(argv: Sequence[str]) -> int:
    """Prints latency, ratio to eager, throughput, size and accuracy; draws a plot."""
    arguments = _parse(argv)
    manifest = read_manifest(arguments.model)
    if manifest.task == "text-generation":
        raise ValueError(
            f"{arguments.model} is a language model; gpu-learning bench generate measures those"
        )
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch sees no CUDA GPU; use --device cpu")
    source = _source(manifest, arguments.checkpoint, arguments.root)
    with one_core(arguments.threads, arguments.device):
        arms = eager_arms(source.net, arguments.device, arguments.compile)
        files, left_out = file_arms(
            manifest, arguments.device, arguments.threads, arguments.compile
        )
        arms |= files
        right = accuracies(arms, source)
        results = measure(
            arms, source.inputs, arguments.batches, arguments.rounds, arguments.device
        )
    where = device_name(arguments.device)
    plot = (
        arguments.plot
        or Path("logs/bench") / f"infer-{arguments.model.name}-{arguments.device}.png"
    )
    plot.parent.mkdir(parents=True, exist_ok=True)
    draw(results, f"{arguments.model.name} on {where}, torch {torch.__version__}").savefig(
        plot, dpi=100
    )
    report = {
        name: {"bytes": arms[name].bytes, "accuracy": right[name], "batches": results[name]}
        for name in arms
    }
    if arguments.json:
        print(json.dumps({"device": where, "torch": torch.__version__, "arms": report}, indent=2))
    else:
        _print(report, arguments.batches)
        print(f"plot: {plot}")
    for line in left_out:
        print(f"not measured: {line}", file=sys.stderr)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("gpu-learning bench infer", description=__doc__)
    parser.add_argument("model", type=Path, help="models/NAME")
    parser.add_argument("--batches", type=_sizes, default=[1, 32, 256, 8192])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1, help="one thread is kept on one core")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compile", action="store_true", help="also through torch.compile")
    parser.add_argument("--checkpoint", type=Path, help="the one that was exported, if it moved")
    parser.add_argument("--root", help="folder of the test data, if not that of the training")
    parser.add_argument("--plot", type=Path, help="file of the plot; under logs/bench by default")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv[1:])
    if arguments.rounds < 2 or arguments.threads < 1:
        parser.error("--rounds must be at least 2 and --threads at least 1")
    return arguments


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers above 0, such as 1,256")
    return sizes


def _source(manifest: Manifest, checkpoint: Path | None, root: str | None) -> Source:
    made_from = manifest.document["source"]
    checkpoint = checkpoint or Path(made_from["checkpoint"])
    if not checkpoint.is_file():
        raise ValueError(
            f"eager needs the checkpoint that was exported and {checkpoint} is not there; name it "
            "with --checkpoint"
        )
    if hashlib.sha256(checkpoint.read_bytes()).hexdigest() != made_from["sha256"]:
        raise ValueError(
            f"{checkpoint} is not the checkpoint that {manifest.folder} was made from; name that "
            "with --checkpoint, or export again"
        )
    return read_source(checkpoint, root)


def _print(report: dict[str, Any], batches: Sequence[int]) -> None:
    heads = "".join(f"{f'batch {batch}: us':>16}{'x eager [quartiles]':>21}" for batch in batches)
    print(f"{'':<28}{'bytes':>11}{'accuracy':>10}{heads}")
    for name, row in report.items():
        size = "" if row["bytes"] is None else f"{row['bytes']:,}"
        right = "" if row["accuracy"] is None else f"{row['accuracy']:.2%}"
        cells = "".join(
            f"{cell['microseconds']:>16,.1f}"
            + f"{cell['ratio']:.2f} [{cell['ratio_q25']:.2f}-{cell['ratio_q75']:.2f}]".rjust(21)
            for cell in row["batches"].values()
        )
        print(f"{name:<28}{size:>11}{right:>10}{cells}")
