"""Step 28: threads of a block that work together."""

# What numba's decorator returns is launched with brackets.
# pyright: reportIndexIssue=false

from typing import Any

import torch
from matplotlib.figure import Figure

from course.kernels import environment
from course.kernels.launch import device
from course.runner import Run


def shared_memory(run: Run) -> dict[str, Any]:
    """A sum as a tree, and additions that are lost or not."""
    print(environment.where())
    from course.kernels import shared
    from course.kernels.simulator import as_array

    x = torch.rand(200, device=device())
    out = torch.zeros(1, device=device())
    blocks = -(-len(x) // shared.THREADS)
    shared.sum_by_blocks[blocks, shared.THREADS](as_array(x), as_array(out))
    print(f"sum of {len(x)} numbers by {blocks} blocks: {out.item():.4f}, torch: {x.sum():.4f}")
    rounds = tree([1.0] * shared.THREADS)
    counted = {}
    for name, kernel in (
        ("32 additions, read and then written", shared.add_one_lossy),
        ("32 additions, atomic", shared.add_one_atomic),
    ):
        number = torch.zeros(1, dtype=torch.int32, device=device())
        kernel[1, 32](as_array(number))
        counted[name] = number.item()
        print(f"{name}: {number.item()}")
    run.keep(draw(tree([1.0] * 16)), "tree")
    values = {
        "sum, relative difference": abs(out.item() / x.sum().item() - 1),
        "rounds for 64 threads": len(rounds) - 1,
        **counted,
    }
    if environment.on_gpu():
        values["atomic per element / per block, time"] = atomics_ratio()
    else:
        run.skip("atomic per element / per block, time", "needs a CUDA GPU")
    return values


def tree(values: list[float]) -> list[list[float]]:
    """What the active threads have after each round; the number of values is a power of two."""
    rounds = [values]
    while len(rounds[-1]) > 1:
        now = rounds[-1]
        half = len(now) // 2
        rounds.append([now[i] + now[i + half] for i in range(half)])
    return rounds


def atomics_ratio(n: int = 1 << 24) -> float:
    """Time of one atomic addition per element over that of one per block."""
    from course.kernels import measure, shared
    from course.kernels.simulator import as_array

    x, out = (as_array(torch.zeros(size, device="cuda")) for size in (n, 1))
    grid = -(-n // shared.THREADS)
    each, block = (
        measure.gpu_ms(lambda k=kernel: k[grid, shared.THREADS](x, out), repeat=20)
        for kernel in (shared.sum_by_elements, shared.sum_by_blocks)
    )
    print(f"sum of {n:,} elements: atomic per element {each}, per block {block}")
    return each.median / block.median


def draw(rounds: list[list[float]]) -> Figure:
    """One row per round; lines lead from the two values that are added."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="thread", ylabel="round")
    for number, values in enumerate(rounds):
        for thread, value in enumerate(values):
            axes.text(
                *(thread, number, f"{value:g}"),
                ha="center",
                va="center",
                bbox={"boxstyle": "circle", "facecolor": "white", "edgecolor": "tab:blue"},
            )
            if number:
                for source in (thread, thread + len(values)):
                    axes.plot([source, thread], [number - 1, number], color="tab:gray", zorder=0)
    axes.set_ylim(len(rounds) - 0.5, -0.5)
    axes.set_yticks(range(len(rounds)))
    axes.set_title("A sum of 16 ones in four rounds; between two rounds there is a barrier")
    return figure
