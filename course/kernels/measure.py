"""Times of kernels on a GPU, by CUDA events."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

_FLUSH = 256 << 20  # bytes; more than the L2 cache of any GPU of today


@dataclass(frozen=True)
class Timing:
    """Median and quartiles, in milliseconds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.4f} ms (quartiles {self.low:.4f} to {self.high:.4f})"


def gpu_ms(
    function: Callable[[], Any], repeat: int = 50, warm_up: int = 5, flush: bool = True
) -> Timing:
    """What the GPU needs for ``function``, each run between two events of its own.

    Args:
        function: what is timed; it queues kernels on the current stream.
        repeat: number of runs that count.
        warm_up: runs before, in which kernels are compiled and memory is reserved.
        flush: overwrite the L2 cache before each run, so that data come from memory.
    """
    for _ in range(warm_up):
        function()
    cache = torch.empty(_FLUSH if flush else 0, dtype=torch.int8, device="cuda")
    starts, ends = ([torch.cuda.Event(enable_timing=True) for _ in range(repeat)] for _ in range(2))
    torch.cuda.synchronize()
    for start, end in zip(starts, ends, strict=True):
        cache.zero_()
        start.record()
        function()
        end.record()
    torch.cuda.synchronize()
    times = [start.elapsed_time(end) for start, end in zip(starts, ends, strict=True)]
    low, median, high = torch.tensor(times).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    return Timing(median, low, high)


def bandwidth(moved: int, timing: Timing) -> float:
    """Gigabytes per second, of bytes read and written."""
    return moved / timing.median / 1e6
