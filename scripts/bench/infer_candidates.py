"""What ``gpu-learning bench infer`` compares, and the clock that it compares with."""

import copy
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from exporting.images import Source
from exporting.images.gate import answers_of, share_right
from inference import load
from inference.load import COMPILED
from inference.manifest import Manifest
from scripts.bench.timing import ratios, summary, take_turns, waiter

_ROUND_SECONDS = 0.01
# A round in which other programs had the core for more than this share is measured again.
_MOST_DISTURBED = 0.03
_PATIENCE = 0.5  # seconds


@dataclass(frozen=True)
class Arm:
    """One way to run the net: ``prepare`` is not timed, ``run`` is, ``fetch`` returns an array."""

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
        fast = torch.compile(copy.deepcopy(last), dynamic=False)

        def compiled_net(inputs: torch.Tensor) -> torch.Tensor:
            try:
                return fast(inputs)
            except torch._dynamo.exc.FailOnRecompileLimitHit as error:
                raise ValueError(
                    f"torch.compile makes {torch._dynamo.config.recompile_limit} programs of one "
                    "net at most and would run eager from here on; give --batches fewer sizes, or "
                    "leave --compile out"
                ) from error

        arms["torch.compile"] = Arm(prepare, compiled_net, fetch)
    if device == "cuda":

        def whole(inputs: np.ndarray) -> np.ndarray:
            return fetch(net(prepare(inputs)))

        arms["eager, host to host"] = Arm(_same, whole, _same)
    return arms


def file_arms(
    manifest: Manifest, device: str, threads: int, compile: bool
) -> tuple[dict[str, Arm], list[str]]:
    """Every file that runs on ``device``, compiled, too, if asked, and why the others do not."""
    arms, left_out = {}, []
    for name, file in manifest.files.items():
        if name == "safetensors":
            continue
        if reason := _not_here(name, file.device, device):
            left_out.append(f"{name}: {reason}")
            continue
        for compiled in (False, True) if compile and name in COMPILED else (False,):
            runtime = load(manifest.folder, name, device, threads, compiled).runtime
            label = f"{name} compiled" if compiled else name
            graph = "" if device == "cpu" else " (graph at batch 1)"
            arms[label + graph] = Arm(runtime.to_native, runtime.run, runtime.to_numpy, file.size)
            if device == "cuda":
                arms[f"{label}, host to host"] = Arm(_same, runtime, _same, file.size)
    return arms, left_out


def _not_here(name: str, built_for: str, device: str) -> str | None:
    if built_for not in ("any", device):
        return f"was built for {built_for}"
    if device == "cuda" and name.startswith("onnx"):
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            return "this onnxruntime runs on the CPU only"
    if device == "cuda" and name.startswith("executorch"):
        return "ExecuTorch's kernels are the CPU's here"
    if device == "cuda" and name == "int8":
        return "torch has 8-bit linear layers for the CPU only"
    return None


def _same(value: Any) -> Any:
    return value


def measure(
    arms: dict[str, Arm], inputs: np.ndarray, batches: Sequence[int], rounds: int, device: str
) -> dict[str, dict[int, dict[str, float]]]:
    """Wall-clock latencies per call, every call waited for; rounds of all arms take turns."""
    wait = waiter(device)
    # With one thread, time off the core is somebody else's; a GPU leaves the host waiting anyway.
    clock = _undisturbed if device == "cpu" and torch.get_num_threads() == 1 else _seconds
    results: dict[str, dict[int, dict[str, float]]] = {name: {} for name in arms}
    for batch in batches:
        rows = np.ascontiguousarray(np.resize(inputs, (batch, *inputs.shape[1:])))
        given = {name: arm.prepare(rows) for name, arm in arms.items()}
        _check_answers(arms, given, batch)
        calls = {}
        for name, arm in arms.items():
            _seconds(arm.run, given[name], 2, wait)  # warm-up, autotuning and compiling
            one = _seconds(arm.run, given[name], 1, wait)
            calls[name] = max(1, min(100, int(_ROUND_SECONDS / one)))
        slow = min(calls.values()) == 1 and batch >= 1024  # seconds per call on one core
        timed = {
            name: partial(clock, arm.run, given[name], calls[name], wait)
            for name, arm in arms.items()
        }
        few = slow and device == "cpu"
        seconds = take_turns(timed, min(rounds, 5) if few else rounds)
        for name, values in seconds.items():
            results[name][batch] = _cell(values, seconds[_reference(name)], batch)
    return results


def _check_answers(arms: dict[str, Arm], given: dict[str, Any], batch: int) -> None:
    """Whatever is measured has to be right at that batch size, too."""
    eager = arms["eager"]
    expected = np.array(eager.fetch(eager.run(given["eager"])))
    allowed = 0.1 * max(1.0, float(np.abs(expected).max()))
    for name, arm in arms.items():
        drift = float(np.abs(np.array(arm.fetch(arm.run(given[name]))) - expected).max())
        if not drift <= allowed:
            raise ValueError(f"{name} differs from eager by {drift:.3g} at batch {batch}")


def _reference(name: str) -> str:
    return "eager, host to host" if name.endswith("host to host") else "eager"


def _seconds(run: Callable[[Any], Any], given: Any, calls: int, wait: Callable[[], None]) -> float:
    for _ in range(max(1, min(calls // 5, 10))):
        run(given)  # the round before was another arm's, and so is what the caches hold
    wait()
    began = time.perf_counter()
    for _ in range(calls):
        run(given)
        wait()
    return (time.perf_counter() - began) / calls


def _undisturbed(
    run: Callable[[Any], Any], given: Any, calls: int, wait: Callable[[], None]
) -> float:
    """Seconds per call of the first round that had the core to itself; else of the calmest one."""
    calmest = (2.0, 0.0)
    stop = time.perf_counter() + _PATIENCE
    while time.perf_counter() < stop:
        began, busy = time.perf_counter(), time.process_time()
        seconds = _seconds(run, given, calls, wait)
        away = 1 - (time.process_time() - busy) / (time.perf_counter() - began)  # warm-up, too
        calmest = min(calmest, (away, seconds))
        if away <= _MOST_DISTURBED:
            break
    return calmest[1]


def _cell(values: list[float], eager: list[float], batch: int) -> dict[str, float]:
    median, ratio = summary(values)["median"], ratios(values, eager)
    return {
        "microseconds": median * 1e6,
        "per_second": batch / median,
        "ratio": ratio["median"],
        "ratio_q25": ratio["q25"],
        "ratio_q75": ratio["q75"],
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
