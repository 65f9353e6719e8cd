"""Step 29: what moving memory costs, by where it lies."""

# A tl.constexpr parameter takes a number.
# pyright: reportArgumentType=false

from typing import Any

import torch
from matplotlib.figure import Figure

from course.kernels import environment
from course.kernels.launch import device
from course.runner import Run

STRIDES = (1, 2, 4, 8, 32)
ON_A_GPU = (
    "copy, GB/s",
    "elements 32 apart / neighbors, time",
    "transpose by columns / by tiles, time",
)


def bandwidth(run: Run) -> dict[str, Any]:
    """Sectors per warp, three ways to move a matrix, and their times."""
    print(environment.where())
    touched = [sectors(stride) for stride in STRIDES]
    for stride, number in zip(STRIDES, touched, strict=True):
        print(f"elements {stride} apart: a warp's 128 bytes lie in {number} sectors of 32 bytes")
    run.keep(draw(), "sectors")
    x = torch.randn(48, 64, device=device())
    copied, apart, turned, columns = moved(x)
    values: dict[str, Any] = {
        "sectors per warp at strides 1, 2, 4, 8, 32": touched,
        "copy, wrong elements": int((copied != x).sum()),
        "elements 32 apart, wrong ones": int((apart != x).sum()),
        "transpose, wrong elements": int((turned != x.T).sum() + (columns != x.T).sum()),
    }
    if environment.on_gpu():
        values |= times()
    else:
        for name in ON_A_GPU:
            run.skip(name, "needs a CUDA GPU")
    return values


def sectors(stride: int, size: int = 4) -> int:
    """Sectors of 32 bytes that a warp's 32 loads of ``size`` bytes touch, ``stride`` apart."""
    return len({thread * stride * size // 32 for thread in range(32)})


def moved(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A copy, a copy by elements 32 apart, and two transposes of a matrix."""
    from course.kernels import moves

    rows, cols = x.shape
    copied, apart = torch.empty_like(x), torch.empty_like(x)
    turned, columns = (torch.empty(cols, rows, device=x.device) for _ in range(2))
    n = x.numel()
    moves.copy[(-(-n // 1024),)](x, copied, n, BLOCK=1024)
    moves.copy_apart[(-(-n // 1024),)](x, apart, n, 32, BLOCK=1024)
    tiles = (-(-rows // 32), -(-cols // 32))
    moves.transpose[tiles](x, turned, rows, cols, TILE=32)
    moves.transpose_columns[(-(-rows // 1024), cols)](x, columns, rows, cols, BLOCK=1024)
    return copied, apart, turned, columns


def times(side: int = 8192) -> dict[str, float]:
    """The rows that need a GPU."""
    from course.kernels import measure, moves

    x = torch.randn(side, side, device="cuda")
    out, n = torch.empty_like(x), x.numel()
    grid, tiles = (-(-n // 1024),), (side // 32, side // 32)
    timings = {
        "copy": lambda: moves.copy[grid](x, out, n, BLOCK=1024),
        "32 apart": lambda: moves.copy_apart[grid](x, out, n, 32, BLOCK=1024),
        "tiles": lambda: moves.transpose[tiles](x, out, side, side, TILE=32),
        "columns": lambda: moves.transpose_columns[(side // 1024, side)](
            x, out, side, side, BLOCK=1024
        ),
    }
    taken = {name: measure.gpu_ms(function) for name, function in timings.items()}
    for name, timing in taken.items():
        print(f"{name}: {timing}, {measure.bandwidth(8 * n, timing):,.0f} GB/s")
    measured = (
        measure.bandwidth(8 * n, taken["copy"]),
        taken["32 apart"].median / taken["copy"].median,
        taken["columns"].median / taken["tiles"].median,
    )
    return dict(zip(ON_A_GPU, measured, strict=True))


def draw() -> Figure:
    """Sectors by stride, for elements of two sizes."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(
        xlabel="distance of neighboring threads' elements", ylabel="sectors of 32 bytes per warp"
    )
    axes.set_xscale("log", base=2)
    strides = [1, 2, 4, 8, 16, 32, 64]
    for size, name in ((4, "float32"), (2, "float16")):
        axes.plot(strides, [sectors(stride, size) for stride in strides], "o-", label=name)
    axes.set_xticks(strides, [str(stride) for stride in strides])
    axes.set_title("What 32 loads at once touch in memory")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
