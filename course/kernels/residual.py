"""A residual connection with dropout, and the LayerNorm that follows, in one kernel each way.

In a transformer the sum ``x + dropout(branch)`` is read again at once, for its norm. Here a program
holds the row, so it is read and written once. The numbers that decide what is dropped are a
function of a seed and of the position (J. K. Salmon et al., Parallel random numbers: as easy as
1, 2, 3, 2011), so the backward pass draws them again and no mask is kept.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import wrap_triton

from course.kernels.rows import block_of, programs_on
from course.kernels.tracing import is_traced

ROUNDS = tl.constexpr(7)  # of Philox, the fewest that pass its authors' tests
PROGRAMS = 8  # of the backward pass, per multiprocessor


@triton.jit
def kept(seed, row, dropout, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Factors (ROWS, BLOCK) of a dropout: 0, or 1 / (1 - dropout); four of a draw lie together."""
    draw = row * (BLOCK // 4) + tl.arange(0, BLOCK // 4)[None, :]
    a, b, c, d = tl.randint4x(seed, draw, ROUNDS)
    bits = tl.join(tl.join(a, b), tl.join(c, d)).reshape(ROWS, BLOCK)
    # As a number from 0 to 1: 24 bits are what a float32 holds.
    uniform = (bits.to(tl.uint32, bitcast=True) >> 8).to(tl.float32) * 5.960464477539063e-08
    return tl.where(uniform >= dropout, 1 / (1 - dropout), 0.0)


@triton.jit
def forward_kernel(
    x_ptr,
    branch_ptr,
    weight_ptr,
    bias_ptr,
    seed_ptr,
    subsequence,
    sum_ptr,
    normal_ptr,
    mean_ptr,
    rstd_ptr,
    rows,
    columns,
    dropout,
    eps,
    HAS_BIAS: tl.constexpr,
    HAS_DROPOUT: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None].to(tl.int64)
    column = tl.arange(0, BLOCK)[None, :]
    mask = (row < rows) & (column < columns)
    at = row * columns + column
    dropout = tl.cast(dropout, tl.float32)  # torch.compile passes numbers as float64
    branch = tl.load(branch_ptr + at, mask=mask, other=0.0).to(tl.float32)
    if HAS_DROPOUT:
        branch *= kept(tl.load(seed_ptr) + subsequence, row, dropout, ROWS, BLOCK)
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32) + branch
    tl.store(sum_ptr + at, x, mask=mask)
    mean = tl.sum(x, axis=1, keep_dims=True) / columns
    centered = tl.where(mask, x - mean, 0.0)
    variance = tl.sum(centered * centered, axis=1, keep_dims=True) / columns
    rstd = tl.rsqrt(variance + tl.cast(eps, tl.float32))
    inside = column < columns
    normal = centered * rstd * tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
    if HAS_BIAS:
        normal += tl.load(bias_ptr + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(normal_ptr + at, normal, mask=mask)
    tl.store(mean_ptr + row, mean, mask=row < rows)
    tl.store(rstd_ptr + row, rstd, mask=row < rows)


@triton.jit
def backward_kernel(
    grad_normal_ptr,
    grad_sum_ptr,
    sum_ptr,
    weight_ptr,
    seed_ptr,
    subsequence,
    mean_ptr,
    rstd_ptr,
    grad_x_ptr,
    grad_branch_ptr,
    grad_weight_ptr,
    grad_bias_ptr,
    rows,
    columns,
    dropout,
    HAS_BIAS: tl.constexpr,
    HAS_DROPOUT: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Each program takes every n-th block of ROWS rows, n programs; its sums over these rows are
    one row of grad_weight and grad_bias (programs, columns)."""
    program = tl.program_id(0)
    column = tl.arange(0, BLOCK)[None, :]
    inside = column < columns
    dropout = tl.cast(dropout, tl.float32)
    weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
    grad_weight = tl.zeros([ROWS, BLOCK], dtype=tl.float32)
    grad_bias = tl.zeros([ROWS, BLOCK], dtype=tl.float32)
    for start in range(program * ROWS, rows, tl.num_programs(0) * ROWS):
        row = (start + tl.arange(0, ROWS))[:, None].to(tl.int64)
        mask = (row < rows) & inside
        at = row * columns + column
        x = tl.load(sum_ptr + at, mask=mask, other=0.0).to(tl.float32)
        grad = tl.load(grad_normal_ptr + at, mask=mask, other=0.0).to(tl.float32)
        grad_x = tl.load(grad_sum_ptr + at, mask=mask, other=0.0).to(tl.float32)
        mean = tl.load(mean_ptr + row, mask=row < rows, other=0.0)
        rstd = tl.load(rstd_ptr + row, mask=row < rows, other=0.0)
        normal = tl.where(mask, (x - mean) * rstd, 0.0)
        grad_weight += grad * normal
        if HAS_BIAS:
            grad_bias += grad
        scaled = grad * weight
        along_mean = tl.sum(scaled, axis=1, keep_dims=True) / columns
        along_normal = tl.sum(scaled * normal, axis=1, keep_dims=True) / columns
        grad_x += (scaled - along_mean - normal * along_normal) * rstd
        tl.store(grad_x_ptr + at, grad_x, mask=mask)
        if HAS_DROPOUT:
            grad_x *= kept(tl.load(seed_ptr) + subsequence, row, dropout, ROWS, BLOCK)
        tl.store(grad_branch_ptr + at, grad_x, mask=mask)
    at = program * columns + tl.arange(0, BLOCK)
    whole = tl.arange(0, BLOCK) < columns
    tl.store(grad_weight_ptr + at, tl.sum(grad_weight, axis=0), mask=whole)
    if HAS_BIAS:
        tl.store(grad_bias_ptr + at, tl.sum(grad_bias, axis=0), mask=whole)


def sizes_of(columns: int) -> tuple[int, int, int]:
    """Rows at a time, the power of two that holds a row, and warps.

    Raises:
        ValueError: a row that does not fit into one program's registers.
    """
    block = max(block_of(columns)[0], 4)  # four numbers are of one draw
    return (2, block, 2) if block <= 512 else (1, block, min(block // 256, 16))


def residual_norm(
    x: Tensor,
    branch: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    seed: Tensor,
    subsequence: int,
    dropout: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``x + dropout(branch)`` and its LayerNorm, of x and branch (rows, columns).

    Args:
        x: of the sum's type.
        branch: of the norm's type.
        weight: (columns,).
        bias: (columns,).
        seed: one int64 on the device, which decides what is dropped.
        subsequence: of the numbers that are drawn with the seed; one for each place of a net.
        dropout: probability.
        eps: added to the variance.

    Returns:
        The sum, its norm, and of each row mean and 1 / std in float32, for the backward pass.
    """
    x, branch = x.contiguous(), branch.contiguous()
    rows, columns = x.shape
    each, block, warps = sizes_of(columns)
    total, normal = torch.empty_like(x), torch.empty_like(branch)
    mean, rstd = (torch.empty(rows, dtype=torch.float32, device=x.device) for _ in range(2))
    kernel: Any = wrap_triton(forward_kernel) if is_traced(x) else forward_kernel
    kernel[(triton.cdiv(rows, each),)](
        *(x, branch, weight, weight if bias is None else bias, seed, subsequence),
        *(total, normal, mean, rstd, rows, columns, dropout, eps),
        HAS_BIAS=bias is not None,
        HAS_DROPOUT=dropout > 0,
        ROWS=each,
        BLOCK=block,
        num_warps=warps,
    )
    return total, normal, mean, rstd


def residual_norm_backward(
    grad_sum: Tensor,
    grad_normal: Tensor,
    total: Tensor,
    weight: Tensor,
    seed: Tensor,
    mean: Tensor,
    rstd: Tensor,
    subsequence: int,
    dropout: float,
    has_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, branch, weight and bias; without a bias the last is empty."""
    grad_sum, grad_normal = grad_sum.contiguous(), grad_normal.contiguous()
    rows, columns = total.shape
    each, block, warps = sizes_of(columns)
    programs = min(triton.cdiv(rows, each), programs_on(total.device, PROGRAMS))
    grad_x, grad_branch = torch.empty_like(grad_sum), torch.empty_like(grad_normal)
    by_weight = torch.empty(programs, columns, dtype=torch.float32, device=total.device)
    by_bias = torch.empty_like(by_weight) if has_bias else by_weight
    kernel: Any = wrap_triton(backward_kernel) if is_traced(total) else backward_kernel
    kernel[(programs,)](
        *(grad_normal, grad_sum, total, weight, seed, subsequence, mean, rstd),
        *(grad_x, grad_branch, by_weight, by_bias),
        *(rows, columns, dropout),
        HAS_BIAS=has_bias,
        HAS_DROPOUT=dropout > 0,
        ROWS=each,
        BLOCK=block,
        num_warps=warps,
    )
    grad_weight = by_weight.sum(dim=0).to(weight.dtype)
    grad_bias = by_bias.sum(dim=0).to(weight.dtype) if has_bias else weight.new_empty(0)
    return grad_x, grad_branch, grad_weight, grad_bias
