"""Step 30: bias and GELU in one kernel."""

from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from course.kernels import environment
from course.kernels.launch import device
from course.runner import Run

NAME = "two operations / one kernel, time"


def fusion(run: Run) -> dict[str, Any]:
    """The kernel in autograd against torch's own operations, and the bytes of both."""
    print(environment.where())
    from course.kernels.fused import bias_gelu

    leaves = [torch.randn(*shape, device=device()) for shape in ((70, 96), (96,))]
    ours, theirs = ([leaf.clone().requires_grad_() for leaf in leaves] for _ in range(2))
    outs = bias_gelu(*ours), F.gelu(theirs[0] + theirs[1])
    weights = torch.randn_like(outs[0])
    (grad_x, grad_bias), (their_x, their_bias) = (
        torch.autograd.grad(out, inputs, weights)
        for out, inputs in zip(outs, (ours, theirs), strict=True)
    )
    separate, fused = bytes_moved(8192, 4096, 2)
    print(f"8192 rows of 4096 numbers of 16 bits: {separate / 1e6:.0f} MB, fused {fused / 1e6:.0f}")
    run.keep(draw(), "bytes")
    values = {
        "forward, largest difference": (outs[0] - outs[1]).abs().max().item(),
        "gradient of x, largest difference": (grad_x - their_x).abs().max().item(),
        "gradient of the bias, relative difference": (
            (grad_bias - their_bias).norm() / their_bias.norm()
        ).item(),
        "bytes, two operations / one kernel": separate / fused,
    }
    if environment.on_gpu():
        values[NAME] = time_ratio()
    else:
        run.skip(NAME, "needs a CUDA GPU")
    return values


def bytes_moved(rows: int, width: int, size: int) -> tuple[int, int]:
    """Bytes read and written by an addition and a GELU, and by one kernel for both."""
    matrix, bias = rows * width * size, width * size
    # The addition reads x and writes the sum; GELU reads it and writes the result.
    return 4 * matrix + bias, 2 * matrix + bias


def time_ratio(rows: int = 8192, width: int = 4096) -> float:
    """Time of torch's two operations over that of the one kernel."""
    from course.kernels import measure
    from course.kernels.fused import bias_gelu

    x = torch.randn(rows, width, device="cuda", dtype=torch.float16)
    bias = torch.randn(width, device="cuda", dtype=torch.float16)
    separate = measure.gpu_ms(lambda: F.gelu(x + bias))
    fused = measure.gpu_ms(lambda: bias_gelu(x, bias))
    moved = bytes_moved(rows, width, 2)
    for name, timing, number in (
        ("two operations", separate, moved[0]),
        ("one kernel", fused, moved[1]),
    ):
        print(f"{name}: {timing}, {measure.bandwidth(number, timing):,.0f} GB/s")
    return separate.median / fused.median


def draw() -> Figure:
    """What is read and written per element, in matrices."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.add_subplot(xlabel="matrices moved")
    parts = (
        ("one kernel", (("read x", 0), ("write result", 3))),
        ("two operations", (("read x", 0), ("write sum", 1), ("read sum", 2), ("write result", 3))),
    )
    for row, (_, moves) in enumerate(parts):
        for position, (name, color) in enumerate(moves):
            axes.barh(row, 1, left=position, color=f"C{color}", edgecolor="white")
            axes.text(position + 0.5, row, name, ha="center", va="center", color="white")
    axes.set_yticks(range(2), [name for name, _ in parts])
    axes.set_title("Bias and GELU: what moves between memory and the GPU")
    return figure
