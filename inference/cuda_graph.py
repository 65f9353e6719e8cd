"""CUDA graphs that nothing else in the process can spoil while they are captured."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def capture(graph: torch.cuda.CUDAGraph, pool: Any = None) -> Iterator[None]:
    """Captures what this thread launches within it.

    Other threads may allocate or wait meanwhile, as a server's do that loads a model while it runs
    another: CUDA's mode ``global``, torch's default, would end the capture with an error. Neither
    does Python's collector run, which could free memory of the GPU in the middle.

    Args:
        graph: is empty.
        pool: memory of another graph, which this one shares; None for its own.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            yield
    finally:
        if collecting:
            gc.enable()


def captured(work: Callable[[], object], device: torch.device, pool: Any) -> torch.cuda.CUDAGraph:
    """A graph of ``work``, which runs three times before it is captured.

    Args:
        work: kernels on the current stream, over tensors that stay where they are.
        device: where they run.
        pool: as of :func:`capture`.
    """
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):  # allocates what libraries need
            work()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with capture(graph, pool):
        work()
    return graph
