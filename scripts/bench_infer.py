"""``gpu-learning bench infer``: every file of an artifact against the eager net, in one run."""

import argparse
import copy
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from callbacks.exporting import Source, read_source
from callbacks.exporting.gate import answers_of, share_right
from inference import load
from inference.manifest import Manifest, read_manifest

_ROUND_SECONDS = 0.01


@dataclass(frozen=True)
class Arm:
    """One way to run the net: ``prepare`` is not timed, ``run`` is, ``fetch`` gives an array."""

    prepare: Callable[[np.ndarray], Any]
    run: Callable[[Any], Any]
    fetch: Callable[[Any], np.ndarray]
    bytes: int | None = None


def eager_arms(net: nn.Module, device: str, compiled: bool) -> dict[str, Arm]:
    """The net itself in its plain layout, channels last, and compiled if asked."""

    def prepare(inputs: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(inputs).to(device)

    def fetch(outputs: torch.Tensor) -> np.ndarray:
        return outputs.float().cpu().numpy()

    net = net.to(device)
    size = sum(tensor.numel() * tensor.element_size() for tensor in net.state_dict().values())
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)
    arms = {
        "eager": Arm(prepare, net, fetch, size),
        "eager, channels last": Arm(prepare, last, fetch),
    }
    if compiled:
        # Past the limit torch.compile runs eager and says nothing; here it fails.
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        fast = copy.deepcopy(last)
        fast.compile(dynamic=False)
        arms["torch.compile"] = Arm(prepare, fast, fetch)
    if device == "cuda":

        def whole(inputs: np.ndarray) -> np.ndarray:
            return fetch(net(prepare(inputs)))

        arms["eager, host to host"] = Arm(_same, whole, _same)
    return arms


def file_arms(manifest: Manifest, device: str, threads: int) -> tuple[dict[str, Arm], list[str]]:
    """Every file that runs on ``device``, and why the others do not."""
    arms, left_out = {}, []
    for name, file in manifest.files.items():
        if name == "safetensors":
            continue
        if reason := _not_here(name, file.device, device):
            left_out.append(f"{name}: {reason}")
            continue
        runtime = load(manifest.folder, name, device, threads).runtime
        label = name if device == "cpu" else f"{name} (graph at batch 1)"
        arms[label] = Arm(runtime.to_native, runtime.run, runtime.to_numpy, file.bytes)
        if device == "cuda":
            arms[f"{name}, host to host"] = Arm(_same, runtime, _same, file.bytes)
    return arms, left_out


def _not_here(name: str, built_for: str, device: str) -> str | None:
    if built_for not in ("any", device):
        return f"was built for {built_for}"
    if device == "cuda" and name.startswith("onnx"):
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            return "this onnxruntime runs on the CPU only"
    if device == "cuda" and name == "int8":
        return "torch has 8-bit linear layers for the CPU only"
    return None


def _same(value: Any) -> Any:
    return value


def measure(
    arms: dict[str, Arm], inputs: np.ndarray, batches: Sequence[int], rounds: int, device: str
) -> dict[str, dict[int, dict[str, float]]]:
    """Latencies a call, every call waited for; rounds of all arms take turns."""
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    results: dict[str, dict[int, dict[str, float]]] = {name: {} for name in arms}
    for batch in batches:
        rows = np.ascontiguousarray(np.resize(inputs, (batch, *inputs.shape[1:])))
        given = {name: arm.prepare(rows) for name, arm in arms.items()}
        calls = {}
        for name, arm in arms.items():
            _seconds(arm.run, given[name], 2, wait)  # warm-up, autotuning and compiling
            one = _seconds(arm.run, given[name], 1, wait)
            calls[name] = max(1, min(100, int(_ROUND_SECONDS / one)))
        slow = min(calls.values()) == 1 and batch >= 1024  # seconds a call on one core
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        for _ in range(min(rounds, 5) if slow and device == "cpu" else rounds):
            for name, arm in arms.items():
                seconds[name].append(_seconds(arm.run, given[name], calls[name], wait))
        for name, values in seconds.items():
            results[name][batch] = _summary(values, seconds[_reference(name)], batch)
    return results


def _reference(name: str) -> str:
    return "eager, host to host" if name.endswith("host to host") else "eager"


def _seconds(run: Callable[[Any], Any], given: Any, calls: int, wait: Callable[[], None]) -> float:
    wait()
    began = time.perf_counter()
    for _ in range(calls):
        run(given)
        wait()
    return (time.perf_counter() - began) / calls


def _summary(values: list[float], eager: list[float], batch: int) -> dict[str, float]:
    ratios = [reference / value for reference, value in zip(eager, values, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    median = statistics.median(values)
    return {
        "microseconds": median * 1e6,
        "per_second": batch / median,
        "ratio": middle,
        "ratio_q25": low,
        "ratio_q75": high,
    }


def accuracies(arms: dict[str, Arm], source: Source) -> dict[str, float | None]:
    """Share of right answers on the whole test split, in batches of 250."""
    found = {}
    for name, arm in arms.items():
        parts = [
            np.array(arm.fetch(arm.run(arm.prepare(source.inputs[start : start + 250]))))
            for start in range(0, len(source.inputs), 250)
        ]
        answers = answers_of(np.concatenate(parts), source.targets)
        found[name] = share_right(answers, source.targets)
    return found


@contextmanager
def one_core(threads: int, device: str) -> Iterator[None]:
    """Keeps a measurement with one thread on one core, where the system can do that."""
    pin = threads == 1 and device == "cpu" and hasattr(os, "sched_setaffinity")
    before = os.sched_getaffinity(0) if pin else set()
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if pin:
            os.sched_setaffinity(0, {max(before)})
        with torch.no_grad():
            yield
    finally:
        if pin:
            os.sched_setaffinity(0, before)
        torch.set_num_threads(torch_threads)


def draw(results: dict[str, dict[int, dict[str, float]]], title: str) -> Figure:
    """Throughput over batch size, one line an arm."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(
        xscale="log", yscale="log", xlabel="batch size", ylabel="images a second", title=title
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
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def main(argv: Sequence[str]) -> int:
    """Prints latency, ratio to eager, throughput, size and accuracy; draws a plot."""
    arguments = _parse(argv)
    manifest = read_manifest(arguments.model)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch sees no CUDA GPU; use --device cpu")
    source = _source(manifest, arguments.checkpoint, arguments.root)
    with one_core(arguments.threads, arguments.device):
        arms = eager_arms(source.net, arguments.device, arguments.compile)
        files, left_out = file_arms(manifest, arguments.device, arguments.threads)
        arms |= files
        right = accuracies(arms, source)
        results = measure(
            arms, source.inputs, arguments.batches, arguments.rounds, arguments.device
        )
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
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
    parser = argparse.ArgumentParser("gpu-learning bench infer", description=__doc__)
    parser.add_argument("model", type=Path, help="models/NAME")
    parser.add_argument("--batches", type=_sizes, default=[1, 32, 256, 8192])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1, help="one thread is kept on one core")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile, too")
    parser.add_argument("--checkpoint", type=Path, help="the one that was exported, if it moved")
    parser.add_argument("--root", help="folder of the test data, if not that of the training")
    parser.add_argument("--plot", type=Path, help="file of the plot; under logs/bench by default")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv[1:])
    if arguments.rounds < 2 or arguments.threads < 1:
        parser.error("--rounds must be at least 2 and --threads at least 1")
    return arguments


def _sizes(text: str) -> list[int]:
    sizes = [int(part) for part in text.split(",")]
    if min(sizes) < 1:
        raise ValueError
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
