"""CUDA graphs of the engine's work."""

from collections.abc import Callable
from typing import Any

import torch


def captured(work: Callable[[], object], device: torch.device, pool: Any) -> torch.cuda.CUDAGraph:
    """A graph of ``work``, which runs three times before it is captured.

    Args:
        work: kernels on the current stream, over tensors that stay where they are.
        device: where they run.
        pool: memory of another graph, which this one shares; None for its own.
    """
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):  # allocates what libraries need
            work()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        work()
    return graph
