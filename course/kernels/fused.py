"""Bias and GELU in one kernel, forward and backward, in Triton and for autograd."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.library import wrap_triton

from course.kernels.tracing import is_traced

_BLOCK, _COLUMNS, _ROWS = 1024, 64, 32


@triton.jit
def gelu(z, TANH: tl.constexpr):
    """z times a normal distribution's probability below z; TANH is GPT-2's approximation of it."""
    if TANH:
        # (1 + tanh(u)) / 2 is sigmoid(2 u).
        return z * tl.sigmoid(1.5957691216057308 * (z + 0.044715 * z * z * z))
    return z * 0.5 * (1 + tl.erf(z * 0.7071067811865476))


@triton.jit
def gelu_slope(z, TANH: tl.constexpr):
    """Derivative of :func:`gelu`."""
    if TANH:
        below = tl.sigmoid(1.5957691216057308 * (z + 0.044715 * z * z * z))
        return below + z * below * (1 - below) * 1.5957691216057308 * (1 + 0.134145 * z * z)
    below = 0.5 * (1 + tl.erf(z * 0.7071067811865476))
    return below + z * 0.3989422804014327 * tl.exp(-0.5 * z * z)


@triton.jit
def forward_kernel(x, bias, out, n, width, TANH: tl.constexpr, BLOCK: tl.constexpr):
    """out = gelu(x + bias), computed in float32."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    a = tl.load(x + i, mask=inside).to(tl.float32)
    z = a + tl.load(bias + i % width, mask=inside).to(tl.float32)
    tl.store(out + i, gelu(z, TANH), mask=inside)


@triton.jit
def backward_kernel(
    x,
    bias,
    grad_out,
    grad_x,
    grad_bias,
    rows,
    width,
    TANH: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """grad_x, and for each ROWS rows their sum, a row of grad_bias."""
    col = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    inside = col < width
    b = tl.load(bias + col, mask=inside).to(tl.float32)
    total = tl.zeros((COLUMNS,), dtype=tl.float32)
    for k in range(ROWS):
        row = tl.program_id(1) * ROWS + k
        i = row * width + col
        here = inside & (i < rows * width)
        z = tl.load(x + i, mask=here, other=0.0).to(tl.float32) + b
        grad = tl.load(grad_out + i, mask=here, other=0.0).to(tl.float32) * gelu_slope(z, TANH)
        tl.store(grad_x + i, grad, mask=here)
        total += grad
    tl.store(grad_bias + tl.program_id(1) * width + col, total, mask=inside)


def bias_gelu_forward(x: Tensor, bias: Tensor, tanh: bool = False) -> Tensor:
    """gelu(x + bias) of rows (..., width) and a bias (width,)."""
    x, bias = x.contiguous(), bias.contiguous()
    out, n = torch.empty_like(x), x.numel()
    kernel = wrap_triton(forward_kernel) if is_traced(x) else forward_kernel
    kernel[(triton.cdiv(n, _BLOCK),)](x, bias, out, n, x.shape[-1], TANH=tanh, BLOCK=_BLOCK)
    return out


def bias_gelu_backward(
    grad_out: Tensor, x: Tensor, bias: Tensor, tanh: bool = False
) -> tuple[Tensor, Tensor]:
    """Gradients of x and bias."""
    x, bias = x.contiguous(), bias.contiguous()
    width = x.shape[-1]
    rows = x.numel() // width
    parts = triton.cdiv(rows, _ROWS)
    grad_x = torch.empty_like(x)
    grad_bias = torch.empty(parts, width, dtype=torch.float32, device=x.device)
    kernel = wrap_triton(backward_kernel) if is_traced(x) else backward_kernel
    kernel[(triton.cdiv(width, _COLUMNS), parts)](
        *(x, bias, grad_out.contiguous(), grad_x, grad_bias, rows, width),
        TANH=tanh,
        COLUMNS=_COLUMNS,
        ROWS=_ROWS,
    )
    return grad_x, grad_bias.sum(0).to(bias.dtype)


class BiasGELU(torch.autograd.Function):
    """gelu(x + bias) of rows (..., width) and a bias (width,)."""

    @staticmethod
    def forward(ctx, x: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, bias)
        return bias_gelu_forward(x, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out: Tensor) -> tuple[Tensor, Tensor]:
        return bias_gelu_backward(grad_out, *ctx.saved_tensors)


def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """gelu(x + bias) in one kernel, with gradients of both."""
    return BiasGELU.apply(x, bias)
