"""The gate: what a fresh process gets out of each file, against what eager returns."""

import hashlib
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from exporting.images.formats import FORMATS
from exporting.images.source import Source
from exporting.prober import Prober

BATCHES = (1, 256)
_SINGLES = 500  # inputs that are also run one at a time
_ROUNDS, _FEWEST_ROUNDS = 15, 5
_ROUND_SECONDS = 0.005
_SLOW = 0.05  # seconds of a call that needs no other before it, and of which fewer are timed
_BUDGET = 20  # seconds that the rounds of slow calls may take, all files together
_LARGEST_BATCH = 1 << 22  # values of a batch that is timed: 27 color images of 224 x 224


@dataclass(frozen=True)
class Eager:
    """What the files are compared with: outputs of the eager net on the CPU, in float32."""

    net: nn.Module
    outputs: np.ndarray
    answers: np.ndarray | None
    targets: np.ndarray
    inputs_file: Path

    @property
    def accuracy(self) -> float | None:
        return share_right(self.answers, self.targets)


def eager_reference(source: Source, folder: Path) -> Eager:
    """Runs the test split through the net; the inputs are left in ``folder`` for the probe.

    Raises:
        ValueError: the net returns NaN or infinity, as one whose training diverged does.
    """
    with torch.no_grad():
        outputs = torch.cat(
            [source.net(part) for part in torch.from_numpy(source.inputs).split(256)]
        )
    inputs_file = folder / "inputs.npy"
    np.save(inputs_file, source.inputs)
    values = outputs.numpy()
    if not np.isfinite(values).all():
        share = 1 - np.isfinite(values).mean()
        raise ValueError(
            f"{share:.1%} of the net's outputs on the test split are NaN or infinite: its training "
            "diverged. Nothing was written; train again with a lower learning rate, or export an "
            "earlier checkpoint"
        )
    return Eager(
        source.net, values, answers_of(values, source.targets), source.targets, inputs_file
    )


def answers_of(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    """Classes (N,): the largest of several logits, the sign of one; None for a regression."""
    if outputs.ndim == 2 and outputs.shape[1] > 1 and targets.ndim == 1:
        return outputs.argmax(axis=1) if np.issubdtype(targets.dtype, np.integer) else None
    if outputs.size == len(outputs) == targets.size and np.isin(targets, (0, 1)).all():
        return (outputs.reshape(len(outputs)) > 0).astype(np.int64)
    return None


def share_right(answers: np.ndarray | None, targets: np.ndarray) -> float | None:
    """Accuracy in [0, 1], None where there are no classes."""
    return None if answers is None else float((answers == targets.reshape(-1)).mean())


def check_file(
    prober: Prober, name: str, folder: Path, eager: Eager, device: str
) -> dict[str, Any]:
    """What the manifest says of one file.

    Args:
        folder: holds the files and a manifest that names them.
        device: where the file runs.

    Raises:
        ValueError: the file does not load, strays too far, or is not what it says it is.
    """
    kind = FORMATS[name]
    if not kind.runs:
        return _check_weights(prober, name, folder, eager.net)
    try:
        prober.ask("open", folder=str(folder), format=name, device=device, threads=1)
        compared = {batch: _compare(prober, name, eager, batch) for batch in BATCHES}
        checked: dict[str, Any] = {
            "inputs": len(eager.outputs),
            "max_difference": max(result["max_difference"] for result in compared.values()),
            "agreement": min(result["agreement"] for result in compared.values()),
            "accuracy": compared[BATCHES[-1]]["accuracy"],
        }
        if kind.int8:
            answer = prober.ask(
                "int8_operations", folder=str(folder), format=name, inputs=str(eager.inputs_file)
            )
            checked["int8_operations"] = answer["operations"]
    except ValueError as error:
        raise ValueError(f"the {name} file does not run in a fresh process: {error}") from error
    _judge(name, checked, eager)
    return checked


def _compare(prober: Prober, name: str, eager: Eager, batch: int) -> dict[str, Any]:
    inputs_file, rows = eager.inputs_file, len(eager.outputs)
    if batch == 1:
        rows = min(rows, _SINGLES)
        inputs_file = eager.inputs_file.with_name("singles.npy")
        np.save(inputs_file, np.load(eager.inputs_file, allow_pickle=False)[:rows])
    outputs_file = eager.inputs_file.with_name("outputs.npy")
    prober.ask("run", format=name, inputs=str(inputs_file), outputs=str(outputs_file), batch=batch)
    outputs = np.load(outputs_file, allow_pickle=False)
    expected, targets = eager.outputs[:rows], eager.targets[:rows]
    if outputs.shape != expected.shape:
        raise ValueError(f"shape {outputs.shape} at batch {batch}, eager returns {expected.shape}")
    answers = answers_of(outputs, targets)
    agreement = 1.0
    if answers is not None and eager.answers is not None:
        agreement = float((answers == eager.answers[:rows]).mean())
    return {
        "max_difference": float(np.abs(outputs - expected).max()),
        "agreement": agreement,
        "accuracy": share_right(answers, targets),
    }


def _judge(name: str, checked: dict[str, Any], eager: Eager) -> None:
    kind = FORMATS[name]
    allowed = kind.drift * max(1.0, float(np.abs(eager.outputs).max()))
    faults = []
    # Written so that a NaN fails.
    if not checked["max_difference"] <= allowed:
        faults.append(
            f"its outputs differ by {checked['max_difference']:.3g} ({allowed:.3g} allowed)"
        )
    wanted = kind.agreement
    if kind.rounds:  # of a small test split one answer is more than the share that may differ
        wanted = min(wanted, 1 - 1 / min(checked["inputs"], _SINGLES))
    if not checked["agreement"] >= wanted - 1e-9:
        faults.append(f"it agrees on {checked['agreement']:.2%} ({wanted:.2%} wanted)")
    if eager.accuracy is not None:
        spare = max(0.001, 1 / checked["inputs"])
        if not checked["accuracy"] >= eager.accuracy - spare - 1e-9:
            faults.append(
                f"its accuracy is {checked['accuracy']:.2%}, eager's {eager.accuracy:.2%}"
            )
    if kind.int8 and not checked["int8_operations"]:
        faults.append("no 8-bit operation ran")
    if faults:
        raise ValueError(
            f"the {name} file does not do what the model does: {'; '.join(faults)}. Nothing was "
            "written; leave that format out, or change the net so that it can be exported"
        )


def _check_weights(prober: Prober, name: str, folder: Path, net: nn.Module) -> dict[str, Any]:
    found = prober.ask("weights", folder=str(folder), format=name)["weights"]
    expected = {
        key: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        for key, tensor in net.state_dict().items()
    }
    if found != expected:
        raise ValueError(f"the {name} file does not hold the weights bit by bit")
    return {"tensors": len(found), "bit_equal": True}


def measure(
    prober: Prober, names: list[str], folder: Path, eager: Eager, device: str
) -> dict[str, dict[str, Any]]:
    """Latencies of ``names`` at batch 1 and a large one, beside eager's, one thread each.

    Rounds of eager in this process and of each file in the probe take turns, so that a machine
    whose speed drifts slows all of them alike. A ratio is eager's time over the file's, round by
    round; above 1 the file is faster.
    """
    inputs = np.load(eager.inputs_file, allow_pickle=False)
    results: dict[str, dict[str, Any]] = {name: {} for name in ("eager", *names)}
    net = eager.net.to(device)
    with _one_thread(), torch.no_grad():
        for batch in (1, max(2, min(BATCHES[-1], _LARGEST_BATCH // inputs[0].size))):
            rows = np.resize(inputs, (batch, *inputs.shape[1:]))  # repeats a split that is smaller
            batch_file = folder / "batch.npy"
            np.save(batch_file, rows)
            tensor = torch.from_numpy(rows).to(device)
            one = _seconds(net, tensor, 1, before=1)
            calls = max(1, min(50, int(_ROUND_SECONDS / one)))
            before = 0 if one > _SLOW else 2
            fitting = int(_BUDGET / (one * len(results) * (calls + before)))
            seconds: dict[str, list[float]] = {name: [] for name in results}
            for _ in range(max(_FEWEST_ROUNDS, min(_ROUNDS, fitting))):
                seconds["eager"].append(_seconds(net, tensor, calls, before))
                for name in names:
                    answer = prober.ask(
                        "time",
                        **{"format": name, "inputs": str(batch_file), "batch": batch},
                        **{"calls": calls, "before": before},
                    )
                    seconds[name].append(answer["seconds"])
            for name, values in seconds.items():
                results[name][str(batch)] = _latency(values, seconds["eager"])
    net.to("cpu")
    return results


def _latency(values: list[float], eager: list[float]) -> dict[str, Any]:
    ratios = [reference / value for reference, value in zip(eager, values, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "microseconds": round(statistics.median(values) * 1e6, 1),
        "ratio_to_eager": {"median": round(middle, 3), "q25": round(low, 3), "q75": round(high, 3)},
        "rounds": len(values),
    }


def _seconds(net: nn.Module, inputs: torch.Tensor, calls: int, before: int) -> float:
    for _ in range(before):
        net(inputs)
    wait = torch.cuda.synchronize if inputs.is_cuda else (lambda: None)
    wait()
    began = time.perf_counter()
    for _ in range(calls):
        net(inputs)
        wait()
    return (time.perf_counter() - began) / calls


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
