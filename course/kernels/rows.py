"""Row reductions in Triton: softmax, and LayerNorm forward and backward.

A program holds a row in registers: it is read from memory once and written once, however many
reductions there are in between.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import wrap_triton

from course.kernels.tracing import is_traced

MAX_COLUMNS = 1 << 16


@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)  # row * stride may not fit into 32 bits
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf")).to(tl.float32)
    weights = tl.exp(x - tl.max(x, axis=0))  # the largest exponent is 0: exp cannot overflow
    result = weights / tl.sum(weights, axis=0)
    tl.store(out_ptr + row * out_stride + offsets, result, mask=mask)


def softmax(x: Tensor) -> Tensor:
    """Softmax over the last dimension of x (rows, columns)."""
    rows, columns = x.shape
    block, warps = block_of(columns)
    x = x if x.stride(1) == 1 else x.contiguous()
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    softmax_kernel[(rows,)](
        x, out, x.stride(0), out.stride(0), columns, BLOCK=block, num_warps=warps
    )
    return out


@triton.jit
def layer_norm_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    mean_ptr,
    rstd_ptr,
    columns,
    eps,
    HAS_BIAS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(x, axis=0) / columns
    centered = tl.where(mask, x - mean, 0.0)  # beyond the row x is 0, and x - mean is not
    eps = tl.cast(eps, tl.float32)  # torch.compile passes numbers as float64
    rstd = tl.rsqrt(tl.sum(centered * centered, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    result = centered * rstd * weight
    if HAS_BIAS:
        result += tl.load(bias_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * columns + offsets, result, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_backward_kernel(
    grad_ptr,
    x_ptr,
    weight_ptr,
    mean_ptr,
    rstd_ptr,
    grad_x_ptr,
    grad_weight_ptr,
    grad_bias_ptr,
    rows,
    columns,
    BLOCK: tl.constexpr,
):
    """Each program takes every n-th row, n programs; its sums over these rows are one row of
    grad_weight and grad_bias (programs, columns)."""
    program = tl.program_id(0).to(tl.int64)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    weight = tl.load(weight_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    grad_weight = tl.zeros([BLOCK], dtype=tl.float32)
    grad_bias = tl.zeros([BLOCK], dtype=tl.float32)
    for row in range(program, rows, tl.num_programs(0)):
        start = row * columns
        x = tl.load(x_ptr + start + offsets, mask=mask, other=0.0).to(tl.float32)
        grad = tl.load(grad_ptr + start + offsets, mask=mask, other=0.0).to(tl.float32)
        mean, rstd = tl.load(mean_ptr + row), tl.load(rstd_ptr + row)
        normal = tl.where(mask, (x - mean) * rstd, 0.0)
        grad_weight += grad * normal
        grad_bias += grad
        scaled = grad * weight
        # Mean and variance depend on x, too: what changes them alone changes nothing.
        along_mean = tl.sum(scaled, axis=0) / columns
        along_normal = tl.sum(scaled * normal, axis=0) / columns
        grad_x = (scaled - along_mean - normal * along_normal) * rstd
        tl.store(grad_x_ptr + start + offsets, grad_x, mask=mask)
    tl.store(grad_weight_ptr + program * columns + offsets, grad_weight, mask=mask)
    tl.store(grad_bias_ptr + program * columns + offsets, grad_bias, mask=mask)


def layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """LayerNorm over the last dimension of x (rows, columns); with mean and 1 / std of the rows,
    in float32, which the backward pass needs."""
    x = x.contiguous()
    rows, columns = x.shape
    block, warps = block_of(columns)
    out = torch.empty_like(x)
    mean, rstd = (torch.empty(rows, dtype=torch.float32, device=x.device) for _ in range(2))
    kernel = wrap_triton(layer_norm_kernel) if is_traced(x) else layer_norm_kernel
    kernel[(rows,)](
        x,
        weight,
        weight if bias is None else bias,
        out,
        mean,
        rstd,
        columns,
        eps,
        HAS_BIAS=bias is not None,
        BLOCK=block,
        num_warps=warps,
    )
    return out, mean, rstd


def layer_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias; x and grad are (rows, columns)."""
    x, grad = x.contiguous(), grad.contiguous()
    rows, columns = x.shape
    block, warps = block_of(columns)
    programs = min(rows, programs_on(x.device))
    grad_x = torch.empty_like(x)
    sums = torch.empty(2, programs, columns, dtype=torch.float32, device=x.device)
    kernel = layer_norm_backward_kernel
    if is_traced(x):
        kernel = wrap_triton(layer_norm_backward_kernel)
    kernel[(programs,)](
        *(grad, x, weight, mean, rstd, grad_x, sums[0], sums[1], rows, columns),
        BLOCK=block,
        num_warps=warps,
    )
    # An operator returns tensors with memory of their own, so each is a sum by itself.
    grad_weight, grad_bias = (part.sum(dim=0).to(weight.dtype) for part in sums)
    return grad_x, grad_weight, grad_bias


class LayerNormFunction(torch.autograd.Function):
    """What connects the two kernels for ``backward``: x (rows, columns), weight, bias, eps."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:  # type: ignore[override]
        out, mean, rstd = layer_norm(x, weight, bias, eps)
        ctx.save_for_backward(x, weight, mean, rstd)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        return *layer_norm_backward(grad, *ctx.saved_tensors), None


def block_of(columns: int) -> tuple[int, int]:
    """The power of two that holds a row, and the warps for it.

    Raises:
        ValueError: a row that does not fit into one program's registers.
    """
    if columns > MAX_COLUMNS:
        raise ValueError(
            f"a row of {columns} does not fit into one program; the kernel takes {MAX_COLUMNS}"
        )
    block = triton.next_power_of_2(columns)
    return block, min(max(block // 512, 1), 16)


def programs_on(device: torch.device, each: int = 4) -> int:
    """Programs that keep a GPU busy: ``each`` for one of its multiprocessors."""
    if device.type != "cuda":
        return 4
    return each * torch.cuda.get_device_properties(device).multi_processor_count
