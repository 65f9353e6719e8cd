"""Candidates that take turns, and what their times come to."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

Row = dict[str, float]


def take_turns(
    candidates: Mapping[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """What each candidate measures in each round.

    They take turns, so that a machine whose speed drifts slows all of them alike.

    Args:
        candidates: by name; each runs once and returns what it measured.
        rounds: how often each one runs.
    """
    measured: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            measured[name].append(candidate())
    return measured


def seconds(run: Callable[[], object], device: str = "cpu") -> float:
    """Wall-clock time of one call, the device's work included."""
    wait = waiter(device)
    wait()
    began = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - began


def waiter(device: str | torch.device) -> Callable[[], None]:
    """A function that returns when the device has done its work."""
    device = torch.device(device)
    return partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None


def summary(values: Sequence[float]) -> Row:
    """Median, quartiles and range; of fewer than two values the quartiles are the value."""
    low, high = min(values), max(values)
    if len(values) > 1:
        first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    else:
        first = third = low
    return {
        "n": len(values),
        "median": statistics.median(values),
        "q25": first,
        "q75": third,
        "min": low,
        "max": high,
    }


def ratios(values: Sequence[float], reference: Sequence[float]) -> Row:
    """Summary of the reference divided by the values, round by round."""
    return summary([one / value for value, one in zip(values, reference, strict=True)])


def device_name(device: str) -> str:
    """Of the GPU, or of the processor."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine(device: str) -> dict[str, object]:
    """What a figure depends on beside the code: device, threads and torch."""
    threads = torch.get_num_threads()
    return {"where": device_name(device), "threads": threads, "torch": torch.__version__}


def table(rows: Mapping[str, Row], unit: str, reference: str | None = None) -> str:
    """One line per candidate: median, quartiles and, with a reference, the ratio of medians."""
    width = max(map(len, rows)) + 2
    lines = []
    for name, row in rows.items():
        line = (
            f"{name:<{width}}{row['median']:>12,.{_digits(row)}f} {unit}  "
            f"[{row['q25']:,.{_digits(row)}f}, {row['q75']:,.{_digits(row)}f}], n={row['n']:.0f}"
        )
        if reference is not None:
            line += f"{row['median'] / rows[reference]['median']:>9.2f} x"
        lines.append(line)
    return "\n".join(lines)


def _digits(row: Row) -> int:
    return 0 if row["median"] >= 100 else 2
