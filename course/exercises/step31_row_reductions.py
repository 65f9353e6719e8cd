"""Exercise to step 31, row reductions: softmax, and LayerNorm forward and
backward, each program with a row in registers.

A block has BLOCK places, a power of two, and a row has fewer columns: what
lies beyond the row must not be read, must not be written, and must not count
in a maximum or in a sum. All matrices here are contiguous: row i begins at
i * columns.

Write the kernels, then: gpu-learning lessons check 31
"""

import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x, out, columns, BLOCK: tl.constexpr):
    """Softmax of one row: exp(x - max) / sum. Program i has row i.

    x and out are pointers to (rows, columns); exp(x) itself overflows from
    x = 89 on.
    """
    # BEGIN SOLUTION
    offsets = tl.arange(0, BLOCK)
    inside = offsets < columns
    row = tl.program_id(0) * columns + offsets
    values = tl.load(x + row, mask=inside, other=-float("inf"))
    weights = tl.exp(values - tl.max(values, axis=0))
    result = weights / tl.sum(weights, axis=0)
    tl.store(out + row, result, mask=inside)
    # END SOLUTION


@triton.jit
def layer_norm_kernel(
    x,
    weight,
    bias,
    out,
    mean,
    rstd,
    columns,
    eps,
    BLOCK: tl.constexpr,
):
    """LayerNorm of one row: (x - mean) * rstd * weight + bias.

    mean and rstd = 1 / sqrt(variance + eps) of row i are stored, too, at
    mean + i and rstd + i. The variance is that of all columns, divided by
    columns. weight and bias are pointers to (columns,).
    """
    # BEGIN SOLUTION
    program = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    inside = offsets < columns
    row = program * columns + offsets
    values = tl.load(x + row, mask=inside, other=0.0)
    middle = tl.sum(values, axis=0) / columns
    centered = tl.where(inside, values - middle, 0.0)
    variance = tl.sum(centered * centered, axis=0) / columns
    factor = tl.rsqrt(variance + eps)
    w = tl.load(weight + offsets, mask=inside)
    b = tl.load(bias + offsets, mask=inside)
    tl.store(out + row, centered * factor * w + b, mask=inside)
    tl.store(mean + program, middle)
    tl.store(rstd + program, factor)
    # END SOLUTION


@triton.jit
def layer_norm_backward_kernel(
    grad,
    x,
    weight,
    mean,
    rstd,
    grad_x,
    grad_weight,
    grad_bias,
    rows,
    columns,
    BLOCK: tl.constexpr,
):
    """Gradients of LayerNorm for x, weight and bias, from that for its output.

    With n = (x - mean) * rstd and g = grad * weight, both of one row:
        grad_x = (g - mean of g - n * (mean of g * n)) * rstd
        grad_weight = sum over rows of grad * n, grad_bias = that of grad

    There are fewer programs than rows: program p of P takes the rows p,
    p + P, p + 2 P ... and stores its own sums in row p of grad_weight and of
    grad_bias (P, columns), whose rows are added up later.
    """
    # BEGIN SOLUTION
    program = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    inside = offsets < columns
    w = tl.load(weight + offsets, mask=inside, other=0.0)
    by_weight = tl.zeros([BLOCK], dtype=tl.float32)
    by_bias = tl.zeros([BLOCK], dtype=tl.float32)
    for i in range(program, rows, tl.num_programs(0)):
        row = i * columns + offsets
        values = tl.load(x + row, mask=inside, other=0.0)
        g = tl.load(grad + row, mask=inside, other=0.0)
        middle, factor = tl.load(mean + i), tl.load(rstd + i)
        n = tl.where(inside, (values - middle) * factor, 0.0)
        by_weight += g * n
        by_bias += g
        g = g * w
        mean_g = tl.sum(g, axis=0) / columns
        mean_gn = tl.sum(g * n, axis=0) / columns
        by_x = (g - mean_g - n * mean_gn) * factor
        tl.store(grad_x + row, by_x, mask=inside)
    tl.store(grad_weight + program * columns + offsets, by_weight, mask=inside)
    tl.store(grad_bias + program * columns + offsets, by_bias, mask=inside)
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from course.kernels import launch  # noqa: E402
from course.kernels.launch import Out  # noqa: E402

HINTS = (
    "offsets = tl.arange(0, BLOCK), inside = offsets < columns; load with mask=inside and "
    "other=-float('inf'), which neither a maximum nor a sum of exponents notices.",
    "In LayerNorm other=0.0 leaves the sum of x right; but x - mean is -mean there, so "
    "tl.where(inside, x - mean, 0.0) before it is squared.",
    "for i in range(tl.program_id(0), rows, tl.num_programs(0)) walks over a program's rows; the "
    "sums begin as tl.zeros([BLOCK], dtype=tl.float32) before it and are stored after it.",
)
ABOUT = ("softmax_kernel", "layer_norm_kernel", "layer_norm_backward_kernel")
EPS = 1e-5


def _beyond(x: Tensor, block: int) -> Tensor:
    """What a load without a mask reads: each row and what follows it in memory."""
    flat = torch.cat([x.flatten(), torch.full((block,), float("nan"))])
    return flat.unfold(0, block, 1)[:: x.shape[1]][: len(x)]


def _softmax_mistakes(x: Tensor, block: int) -> dict[str, Tensor]:
    columns = x.shape[1]
    padded = F.pad(x, (0, block - columns))
    return {
        "the maximum is not subtracted: exp of a large number is infinite": x.exp()
        / x.exp().sum(1, keepdim=True),
        "what lies beyond the row counts as 0, whose exponent is not 0; other=-float('inf')": (
            padded.softmax(1)[:, :columns]
        ),
        "the load has no mask: the next row counts, too": (
            _beyond(x, block).softmax(1)[:, :columns]
        ),
        "the exponents are not divided by their sum": (x - x.amax(1, keepdim=True)).exp(),
        "that is the sum of x in place of the sum of the exponents": (
            (x - x.amax(1, keepdim=True)).exp() / x.sum(1, keepdim=True)
        ),
    }


def _norm(x: Tensor, w: Tensor, b: Tensor, rstd: Tensor) -> Tensor:
    return (x - x.mean(1, keepdim=True)) * rstd[:, None] * w + b


def _norm_mistakes(x: Tensor, w: Tensor, b: Tensor, block: int) -> dict[str, Tensor]:
    columns = x.shape[1]
    mean, var = x.mean(1), x.var(1, correction=0)
    beyond = var + (block - columns) * mean.square() / columns
    other = x.sum(1, keepdim=True) / block
    return {
        "beyond the row x - mean is -mean and counts in the variance; tl.where(inside, ...)": _norm(
            x, w, b, (beyond + EPS).rsqrt()
        ),
        "eps is not added to the variance": _norm(x, w, b, var.rsqrt()),
        "the variance is divided by columns - 1; divide by columns": _norm(
            x, w, b, (x.var(1) + EPS).rsqrt()
        ),
        "the variance is divided by BLOCK; divide by columns": _norm(
            x, w, b, (var * columns / block + EPS).rsqrt()
        ),
        "the mean is divided by BLOCK; divide by columns": (x - other)
        * ((x - other).square().mean(1, keepdim=True) + EPS).rsqrt()
        * w
        + b,
        "the bias is missing": _norm(x, w, 0 * b, (var + EPS).rsqrt()),
        "the weight is missing": _norm(x, 0 * w + 1, b, (var + EPS).rsqrt()),
        "the mean is not subtracted": x * (var + EPS).rsqrt()[:, None] * w + b,
    }


def _gradient_mistakes(grad: Tensor, n: Tensor, w: Tensor, rstd: Tensor) -> dict[str, Tensor]:
    g = grad * w
    along_mean, along_n = g.mean(1, keepdim=True), n * (g * n).mean(1, keepdim=True)
    plain = grad - grad.mean(1, keepdim=True) - n * (grad * n).mean(1, keepdim=True)
    rstd = rstd[:, None]
    return {
        "mean and rstd depend on x, too: both terms that are subtracted are missing": g * rstd,
        "the mean of g is not subtracted": (g - along_n) * rstd,
        "n times the mean of g * n is not subtracted": (g - along_mean) * rstd,
        "the mean of g * n is not multiplied by n": (
            (g - along_mean - (g * n).mean(1, keepdim=True)) * rstd
        ),
        "it is not multiplied by rstd": g - along_mean - along_n,
        "the weight is missing: g is grad * weight": plain * rstd,
    }


def _check_forward(mine: Attempt, rows: int, columns: int, block: int) -> None:
    x = 2 * torch.randn(rows, columns) + torch.arange(rows)[:, None]
    for data in (x, x + 300):  # softmax is the same, and exp overflows
        (got,) = launch.triton(mine, "softmax_kernel", rows, data, Out(data), columns, BLOCK=block)
        want, known = data.softmax(1), _softmax_mistakes(data, block)
        launch.compare(mine, got, want, f"softmax of {rows} rows of {columns}", known)
    w, b = torch.randn(columns) + 1, torch.randn(columns)
    x = 0.01 * x + torch.arange(rows)[:, None]  # so small that eps shows
    out, one = Out(x), Out(torch.empty(rows))
    got, mean, rstd = launch.triton(
        mine, "layer_norm_kernel", rows, x, w, b, out, one, one, columns, EPS, BLOCK=block
    )
    variance = x.var(1, correction=0)
    shape = f"{rows} rows of {columns}"
    launch.compare(mine, mean, x.mean(1), f"mean of {shape}", {
        "the mean is divided by BLOCK; divide by columns": x.sum(1) / block,
    })  # fmt: skip
    want = F.layer_norm(x, (columns,), w, b, EPS)
    known = _norm_mistakes(x, w, b, block)
    launch.compare(mine, got, want, f"LayerNorm of {shape}", known, atol=1e-4)
    launch.compare(mine, rstd, (variance + EPS).rsqrt(), f"rstd of {shape}", {
        "that is the standard deviation; store 1 divided by it": (variance + EPS).sqrt(),
        "that is the variance; store 1 / sqrt(variance + eps)": variance,
    })  # fmt: skip


def _check_backward(mine: Attempt, rows: int, columns: int, block: int, programs: int) -> None:
    x, grad = torch.randn(rows, columns), torch.randn(rows, columns)
    w = torch.randn(columns) + 1
    mean, rstd = x.mean(1), (x.var(1, correction=0) + EPS).rsqrt()
    parts = Out(torch.empty(programs, columns))
    given = (grad, x, w, mean, rstd, Out(x), parts, parts, rows, columns)
    by_x, *sums = launch.triton(mine, "layer_norm_backward_kernel", programs, *given, BLOCK=block)
    x.requires_grad_()
    (want,) = torch.autograd.grad((F.layer_norm(x, (columns,), w, eps=EPS) * grad).sum(), x)
    n = ((x - mean[:, None]) * rstd[:, None]).detach()
    shape = f"{rows} rows of {columns}"
    known = _gradient_mistakes(grad, n, w, rstd)
    first = want.clone()
    first[programs:] = float("nan")
    known["program p takes the rows p, p + P, p + 2 P ..., and not its first alone"] = first
    launch.compare(mine, by_x, want, f"grad_x of {shape}", known)
    names = (("grad_weight", grad * n), ("grad_bias", grad))
    for (name, one), got in zip(names, sums, strict=True):
        want = torch.stack([one[p::programs].sum(0) for p in range(programs)])
        last = torch.stack([one[p::programs][-1] for p in range(programs)])
        launch.compare(mine, got, want, f"{name} of {shape} in {programs} programs", {
            "that is of a program's last row alone; add up its rows": last,
            "that is of a program's first row alone; add up its rows": one[:programs],
            "weight is a factor of grad_x; in grad_weight and grad_bias it is not": want * w,
        })  # fmt: skip


def check(mine: Attempt) -> None:
    for rows, columns, block in ((3, 16, 16), (4, 70, 128)):
        _check_forward(mine, rows, columns, block)
    for rows, columns, block, programs in ((2, 16, 16, 2), (5, 70, 128, 2)):
        _check_backward(mine, rows, columns, block, programs)


# END HIDDEN TESTS
