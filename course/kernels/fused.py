"""Bias and GELU in one kernel, forward and backward, in Triton and for autograd."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

_BLOCK, _COLUMNS, _ROWS = 1024, 64, 32


@triton.jit
def forward_kernel(x, bias, out, n, width, BLOCK: tl.constexpr):
    """out = gelu(x + bias), computed in float32."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    a = tl.load(x + i, mask=inside).to(tl.float32)
    z = a + tl.load(bias + i % width, mask=inside).to(tl.float32)
    tl.store(out + i, z * 0.5 * (1 + tl.erf(z * 0.7071067811865476)), mask=inside)


@triton.jit
def backward_kernel(
    x, bias, grad_out, grad_x, grad_bias, rows, width, COLUMNS: tl.constexpr, ROWS: tl.constexpr
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
        slope = 0.5 * (1 + tl.erf(z * 0.7071067811865476))
        slope += z * 0.3989422804014327 * tl.exp(-0.5 * z * z)
        grad = tl.load(grad_out + i, mask=here, other=0.0).to(tl.float32) * slope
        tl.store(grad_x + i, grad, mask=here)
        total += grad
    tl.store(grad_bias + tl.program_id(1) * width + col, total, mask=inside)


class BiasGELU(torch.autograd.Function):
    """gelu(x + bias) of rows (..., width) and a bias (width,)."""

    @staticmethod
    def forward(ctx, x: Tensor, bias: Tensor) -> Tensor:
        x, bias = x.contiguous(), bias.contiguous()
        ctx.save_for_backward(x, bias)
        out, n = torch.empty_like(x), x.numel()
        grid = (triton.cdiv(n, _BLOCK),)
        forward_kernel[grid](x, bias, out, n, x.shape[-1], BLOCK=_BLOCK)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out: Tensor) -> tuple[Tensor, Tensor]:
        x, bias = ctx.saved_tensors
        width = x.shape[-1]
        rows = x.numel() // width
        parts = triton.cdiv(rows, _ROWS)
        grad_x = torch.empty_like(x)
        grad_bias = torch.empty(parts, width, dtype=torch.float32, device=x.device)
        backward_kernel[(triton.cdiv(width, _COLUMNS), parts)](
            *(x, bias, grad_out.contiguous(), grad_x, grad_bias, rows, width),
            COLUMNS=_COLUMNS,
            ROWS=_ROWS,
        )
        return grad_x, grad_bias.sum(0).to(bias.dtype)


def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """gelu(x + bias) in one kernel, with gradients of both."""
    return BiasGELU.apply(x, bias)
