"""Step 26: launches as a queue, and clocks that do or do not wait for it."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from matplotlib.figure import Figure

from course.runner import Run

ON_A_GPU = (
    "first call / later ones",
    "clock without synchronize / with",
    "CUDA events / synchronized clock",
    "a launch, microseconds",
    "1,000 launches / one CUDA graph",
)


def launches(run: Run) -> dict[str, Any]:
    """Arithmetic of launches, a queue of Python's, and what a GPU shows of both."""
    n, threads = 1_000_000, 256
    blocks = (n + threads - 1) // threads
    print(f"{n:,} elements, {threads} threads per block: {blocks:,} blocks")
    values: dict[str, Any] = {
        "blocks of 256 threads for 1,000,000 elements": blocks,
        "threads without an element": blocks * threads - n,
    }
    for kernel in (1.0, 20.0):
        done = timeline(10, 5.0, kernel)[-1][2]
        print(f"10 launches of 5 us, kernels of {kernel:g} us: done after {done:g} us")
        values[f"ten kernels of {kernel:g} us, microseconds"] = done
    values["a queue: time of the call / of the work"] = queue_share()
    run.keep(draw([timeline(10, 5.0, kernel) for kernel in (1.0, 20.0)]), "timeline")
    if torch.cuda.is_available():
        values |= on_the_gpu()
    else:
        for name in ON_A_GPU:
            run.skip(name, "needs a CUDA GPU")
    return values


def timeline(number: int, launch: float, kernel: float) -> list[tuple[float, float, float]]:
    """For each kernel: when its launch ends, when it begins and when it is done."""
    rows, done = [], 0.0
    for index in range(1, number + 1):
        launched = index * launch
        begins = max(launched, done)
        done = begins + kernel
        rows.append((launched, begins, done))
    return rows


def queue_share(seconds: float = 0.05) -> float:
    """How much of a task's time the call takes that only queues it: a stream in Python."""
    with ThreadPoolExecutor(max_workers=1) as stream:
        stream.submit(time.sleep, 0).result()  # starts the thread: a warm-up
        began = time.perf_counter()
        task = stream.submit(time.sleep, seconds)
        called = time.perf_counter() - began
        task.result()  # synchronize
        done = time.perf_counter() - began
    print(f"a queue of Python's: the call took {1000 * called:.2f} ms, the work {1000 * done:.0f}")
    return called / done


def on_the_gpu() -> dict[str, float]:
    """The rows that need a GPU."""
    matrix = torch.randn(4096, 4096, device="cuda")
    first, later = (seconds(lambda: torch.special.i0e(matrix)) for _ in range(2))
    torch.matmul(matrix, matrix)
    torch.cuda.synchronize()
    began = time.perf_counter()
    torch.matmul(matrix, matrix)
    wrong = time.perf_counter() - began
    torch.cuda.synchronize()
    right = time.perf_counter() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began = time.perf_counter()
    start.record()
    for _ in range(10):
        torch.matmul(matrix, matrix)
    end.record()
    torch.cuda.synchronize()
    clock = time.perf_counter() - began
    print(f"a product: {1e6 * wrong:.0f} us without synchronize, {1e6 * right:.0f} us with")
    one_by_one, graph = many_launches(torch.zeros(1024, device="cuda"))
    print(f"1,000 launches: {1000 * one_by_one:.3f} ms, in one graph {1000 * graph:.3f} ms")
    measured = (
        first / later,
        wrong / right,
        start.elapsed_time(end) / 1000 / clock,
        1e6 * one_by_one / 1000,
        one_by_one / graph,
    )
    return dict(zip(ON_A_GPU, measured, strict=True))


def seconds(function: Callable[[], Any]) -> float:
    """From the call to when the GPU is done."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def many_launches(x: torch.Tensor, number: int = 1000) -> tuple[float, float]:
    """Seconds of ``number`` small kernels, launched one at a time and as one CUDA graph."""

    def work() -> None:
        for _ in range(number):
            x.add_(1)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # capture wants work that has run before, on another stream
        work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    graph.replay()
    return min(seconds(work) for _ in range(5)), min(seconds(graph.replay) for _ in range(5))


def draw(timelines: list[list[tuple[float, float, float]]]) -> Figure:
    """Two rows of boxes per timeline: launches above, kernels below."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    for place, rows in enumerate(timelines):
        axes = figure.add_subplot(len(timelines), 1, place + 1)
        launch, kernel = rows[0][0], rows[0][2] - rows[0][1]
        ends = [launched for launched, _, _ in rows]
        axes.barh([1] * len(rows), launch, left=[e - launch for e in ends], edgecolor="white")
        begins = [begun for _, begun, _ in rows]
        axes.barh([0] * len(rows), kernel, left=begins, color="tab:orange", edgecolor="white")
        axes.set_yticks([0, 1], ["kernels (GPU)", "launches (CPU)"])
        axes.set_xlim(0, rows[-1][2] * 1.05)
        axes.set_title(f"launches of {launch:g} us, kernels of {kernel:g} us", fontsize=10)
    axes.set_xlabel("microseconds")
    return figure
