"""Exercise to step 30, fusion: bias and GELU in one kernel, with its gradient.

gelu(x + bias) written as two operations reads and writes memory twice. One
kernel reads x, computes, and writes the result: the sum never leaves the
registers. gelu(z) is z * P(z), P(z) being the probability that a standard
normal number is below z: 0.5 * (1 + erf(z / sqrt(2))). Its slope is
P(z) + z * p(z), with the density p(z) = exp(-z * z / 2) / sqrt(2 * pi).
Numbers of 16 bits are computed with in float32: .to(tl.float32) after the
load. On a machine without a GPU the check uses Triton's interpreter.

Write all three, then: gpu-learning lessons check 30
"""

import triton
import triton.language as tl


def bytes_moved(rows: int, width: int, size: int) -> tuple[int, int]:
    """Bytes that are read and written without and with fusion.

    x and the result are (rows, width), the bias is (width,), each element has
    ``size`` bytes. Without fusion the sum is written, and read again.
    """
    # BEGIN SOLUTION
    matrix, bias = rows * width * size, width * size
    return 4 * matrix + bias, 2 * matrix + bias
    # END SOLUTION


@triton.jit
def bias_gelu(x, bias, out, n, width, BLOCK: tl.constexpr):
    """out = gelu(x + bias) for n elements in rows of width ``width``."""
    # BEGIN SOLUTION
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    a = tl.load(x + i, mask=inside).to(tl.float32)
    b = tl.load(bias + i % width, mask=inside).to(tl.float32)
    z = a + b
    below = 0.5 * (1 + tl.erf(z * 0.7071067811865476))
    tl.store(out + i, z * below, mask=inside)
    # END SOLUTION


@triton.jit
def bias_gelu_backward(
    x,
    bias,
    grad_out,
    grad_x,
    grad_bias,
    rows,
    width,
    BLOCK: tl.constexpr,
):
    """grad_x = grad_out * slope at x + bias; grad_bias = its sum over rows.

    A program has BLOCK columns and goes through all rows; its sum is float32,
    as ``grad_bias`` is.
    """
    # BEGIN SOLUTION
    col = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = col < width
    b = tl.load(bias + col, mask=inside).to(tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(rows):
        i = row * width + col
        z = tl.load(x + i, mask=inside).to(tl.float32) + b
        below = 0.5 * (1 + tl.erf(z * 0.7071067811865476))
        density = 0.3989422804014327 * tl.exp(-0.5 * z * z)
        grad = tl.load(grad_out + i, mask=inside).to(tl.float32)
        grad *= below + z * density
        tl.store(grad_x + i, grad, mask=inside)
        total += grad
    tl.store(grad_bias + col, total, mask=inside)
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from course.kernels import launch  # noqa: E402

HINTS = (
    "A matrix has rows * width * size bytes. Without fusion x is read, the sum is written and "
    "read, and the result is written; with it only the first and the last remain. The bias of "
    "width * size bytes is read once either way.",
    "Element i of x is in column i % width, so that is its element of the bias. z = a + b in "
    "float32; tl.erf(z * 0.7071067811865476), with 1 / sqrt(2), works on blocks; tl.store converts "
    "to the type of out.",
    "Before the loop total = tl.zeros((BLOCK,), dtype=tl.float32); in each row load x and grad_out "
    "at row * width + col, store grad * slope, add it to total; store total at the end. The "
    "density is tl.exp(-0.5 * z * z) * 0.3989422804014327, which is 1 / sqrt(2 * pi).",
)
ABOUT = ("bytes_moved", "bias_gelu", "bias_gelu_backward")

MISTAKES = {
    "bytes_moved": {
        "that is without the bias": lambda rows, width, size: (
            4 * rows * width * size,
            2 * rows * width * size,
        ),
        "without fusion the sum is written and read again: four times the matrix": (
            lambda rows, width, size: (
                (3 * rows + 1) * width * size,
                (2 * rows + 1) * width * size,
            )
        ),
        "these are elements; multiply by the bytes of one": lambda rows, width, size: (
            (4 * rows + 1) * width,
            (2 * rows + 1) * width,
        ),
    },
}


def _below(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(z * 0.5**0.5))


def _slope(z: Tensor) -> Tensor:
    return _below(z) + z * torch.exp(-0.5 * z * z) / (2 * torch.pi) ** 0.5


def _check_forward(mine: Attempt, rows: int, width: int, dtype: torch.dtype) -> None:
    x, bias = (2 * torch.randn(rows, width) - 1).to(dtype), torch.randn(width).to(dtype)
    n, out = rows * width, launch.Out(torch.empty(rows, width, dtype=dtype))
    args = (x, bias, out, n, width)
    [got] = launch.triton(mine, "bias_gelu", -(-n // 32), *args, BLOCK=32)
    z = x.float() + bias.float()
    half = (x + bias).float()
    by_row = bias.repeat(rows)[torch.arange(n) // width % width].view(rows, width).float()
    usual = {
        "the bias is not added": F.gelu(x.float()),
        "that is x + bias without gelu": z,
        "that is another formula, the one with tanh; use tl.erf": F.gelu(z, approximate="tanh"),
        "that is the probability; multiply it by z": _below(z),
        "erf takes z / sqrt(2)": z * 0.5 * (1 + torch.erf(z)),
        "the bias of column i % width belongs to element i": F.gelu(x.float() + by_row),
    }
    if dtype == torch.float16:
        usual["the sum is rounded to float16; convert both to float32 first"] = F.gelu(half)
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else _HALF
    what = f"out of bias_gelu for {rows} rows of {width} in {str(dtype)[6:]}"
    launch.compare(
        mine,
        got,
        F.gelu(z).to(dtype),
        what,
        {k: v.to(dtype) for k, v in usual.items()},
        **tolerance,
    )


_HALF = {"rtol": 1.1e-3, "atol": 1e-6}  # one unit in the last of 11 bits


def _check_backward(mine: Attempt, rows: int, width: int, dtype: torch.dtype) -> None:
    x, bias = torch.randn(rows, width).to(dtype), torch.randn(width).to(dtype)
    grad = (torch.rand(rows, width) + 0.5).to(dtype)
    outs = launch.Out(torch.empty(rows, width, dtype=dtype)), launch.Out(torch.empty(width))
    args = (x, bias, grad, *outs, rows, width)
    got_x, got_bias = launch.triton(mine, "bias_gelu_backward", -(-width // 16), *args, BLOCK=16)
    z, grad = x.float() + bias.float(), grad.float()
    want = grad * _slope(z)
    half = torch.zeros(width, dtype=torch.float16)
    for row in want:
        half = half + row.half()
    what = f"bias_gelu_backward for {rows} rows of {width} in {str(dtype)[6:]}"
    usual = {
        "the density's part of the slope is missing: P(z) + z * p(z)": grad * _below(z),
        "the gradient is not multiplied by grad_out": _slope(z),
        "the density is multiplied by z": grad * (_slope(z) - _below(z) + z * _below(z)),
        "that is the slope at x; it is wanted at x + bias": grad * _slope(x.float()),
    }
    tolerance = (
        {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2e-3, "atol": 1e-4}
    )
    launch.compare(
        mine,
        got_x,
        want.to(dtype),
        f"grad_x of {what}",
        {sentence: result.to(dtype) for sentence, result in usual.items()},
        **tolerance,
    )
    sums = {
        "that is the last row; add the rows up": want[-1],
        "the rows are added up in float16; let total be float32": half.float(),
        "that is the mean over the rows; the bias takes their sum": want.mean(0),
    }
    launch.compare(mine, got_bias, want.sum(0), f"grad_bias of {what}", sums)


def check(mine: Attempt) -> None:
    for rows, width, size in ((8, 4, 4), (3, 100, 2)):
        mine.same("bytes_moved", rows, width, size)
    for rows, width, dtype in ((4, 8, torch.float32), (5, 21, torch.float32)):
        _check_forward(mine, rows, width, dtype)
    _check_forward(mine, 16, 24, torch.float16)
    for rows, width, dtype in ((3, 16, torch.float32), (9, 21, torch.float32)):
        _check_backward(mine, rows, width, dtype)
    _check_backward(mine, 40, 16, torch.float16)


# END HIDDEN TESTS
