"""Step 27: one thread per element, of a vector and of a matrix."""

# What numba's decorator returns is launched with brackets.
# pyright: reportIndexIssue=false

from typing import Any

import torch
from matplotlib.figure import Figure

from course.catalogue import show
from course.kernels import environment
from course.kernels.launch import device
from course.runner import Run

N, THREADS = 21, 8
ROWS, COLS, BLOCK = 10, 14, (4, 4)


def threads(run: Run) -> dict[str, Any]:
    """A map, a map in two dimensions, and a grid that is larger than its array."""
    print(environment.where())
    from course.kernels import maps
    from course.kernels.simulator import as_array

    x, y = torch.randn(2, N, device=device())
    blocks = -(-N // THREADS)
    beyond = {}
    for name, kernel, size in (
        ("with check", maps.axpy, (N,)),
        ("without", maps.axpy_unchecked, ()),
    ):
        # Room behind the end, so that nothing else is overwritten.
        room = blocks * THREADS
        out = torch.zeros(room, device=device())
        inputs = [torch.cat([v, torch.ones(room - N, device=device())]) for v in (x, y)]
        kernel[blocks, THREADS](2.0, *map(as_array, (*inputs, out)), *size)
        beyond[name] = int(out[N:].count_nonzero())
        difference = (out[:N] - (2 * x + y)).abs().max().item()
        last = show(out[-6:].tolist())
        print(f"{blocks} blocks of {THREADS} threads for {N} elements, {name}, the last: {last}")
    grid = (-(-COLS // BLOCK[0]), -(-ROWS // BLOCK[1]))
    owner = torch.full((ROWS, COLS), -1, dtype=torch.int32, device=device())
    maps.owners[grid, BLOCK](as_array(owner))
    print(f"{ROWS} rows, {COLS} columns, blocks of {BLOCK}: {grid} blocks\n{owner.cpu()}")
    counts = torch.bincount(owner.cpu().flatten())
    run.keep(draw(owner.cpu()), "blocks")
    values = {
        "a x + y, largest difference": difference,
        "blocks along x and y": list(grid),
        "elements of the first and the last block": [int(counts[0]), int(counts[-1])],
        "elements beyond the end written, with check": beyond["with check"],
        "elements beyond the end written, without": beyond["without"],
    }
    if environment.on_gpu():
        values["a x + y, GB/s"] = axpy_bandwidth()
    else:
        run.skip("a x + y, GB/s", "needs a CUDA GPU")
    return values


def axpy_bandwidth(n: int = 1 << 26) -> float:
    """Gigabytes per second of a x + y: two vectors are read, one is written."""
    from course.kernels import maps, measure
    from course.kernels.simulator import as_array

    arrays = [as_array(torch.ones(n, device="cuda")) for _ in range(3)]
    timing = measure.gpu_ms(lambda: maps.axpy[-(-n // 256), 256](2.0, *arrays, n))
    print(f"a x + y of {n:,} elements: {timing}")
    return measure.bandwidth(3 * 4 * n, timing)


def draw(owner: torch.Tensor) -> Figure:
    """The matrix, each element with the number of its block."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="column (x of the grid)", ylabel="row (y of the grid)")
    axes.imshow(owner % 10, cmap="tab10", alpha=0.5, vmin=0, vmax=9)
    for row, numbers in enumerate(owner.tolist()):
        for col, number in enumerate(numbers):
            axes.text(col, row, str(number), ha="center", va="center", fontsize=8)
    axes.set_title(f"The block of each element: {ROWS} x {COLS} elements, blocks of 4 x 4 threads")
    return figure
