"""Gradients of causal attention in Triton: one kernel by key and value, one by query.

The weights are computed again from scores and log-sum-exp, as they were not stored.

Source: T. Dao, FlashAttention-2, 2023, arXiv:2307.08691.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import wrap_triton

from course.kernels.attention import LOG2_E, attention, config, launch, tune
from course.kernels.tracing import is_traced


@triton.jit
def gradient_of_keys_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    grad_ptr,
    lse_ptr,
    delta_ptr,
    grad_k_ptr,
    grad_v_ptr,
    T,
    scale,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Gradients by BLOCK_N keys and values, over the queries that see them."""
    scale = tl.cast(scale, tl.float32)  # torch.compile passes numbers as float64
    head = tl.program_id(1).to(tl.int64)
    base = head * T * D
    dims = tl.arange(0, BLOCK_D)
    columns = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    mask = (columns[:, None] < T) & (dims[None, :] < D)
    at = base + columns[:, None] * D + dims[None, :]
    k, v = tl.load(k_ptr + at, mask=mask, other=0.0), tl.load(v_ptr + at, mask=mask, other=0.0)
    grad_k = tl.zeros([BLOCK_N, BLOCK_D], dtype=tl.float32)
    grad_v = tl.zeros([BLOCK_N, BLOCK_D], dtype=tl.float32)
    for start in range(tl.program_id(0) * BLOCK_N // BLOCK_M * BLOCK_M, T, BLOCK_M):
        rows = start + tl.arange(0, BLOCK_M)
        q_mask = (rows[:, None] < T) & (dims[None, :] < D)
        at_q = base + rows[:, None] * D + dims[None, :]
        q = tl.load(q_ptr + at_q, mask=q_mask, other=0.0)
        grad = tl.load(grad_ptr + at_q, mask=q_mask, other=0.0)
        lse = tl.load(lse_ptr + head * T + rows, mask=rows < T, other=float("inf"))
        delta = tl.load(delta_ptr + head * T + rows, mask=rows < T, other=0.0)
        # Transposed, (keys, queries): as the products with q and grad need them.
        scores = tl.dot(k, tl.trans(q), input_precision="ieee") * (scale * LOG2_E)
        weights = tl.exp2(scores - lse[None, :])
        weights = tl.where(rows[None, :] >= columns[:, None], weights, 0.0)
        grad_v = tl.dot(weights.to(grad.dtype), grad, grad_v, input_precision="ieee")
        by_weights = tl.dot(v, tl.trans(grad), input_precision="ieee")
        by_scores = weights * (by_weights - delta[None, :])
        grad_k = tl.dot(by_scores.to(q.dtype), q, grad_k, input_precision="ieee")
    tl.store(grad_k_ptr + at, grad_k * scale, mask=mask)
    tl.store(grad_v_ptr + at, grad_v, mask=mask)


@triton.jit
def gradient_of_queries_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    grad_ptr,
    lse_ptr,
    delta_ptr,
    grad_q_ptr,
    T,
    scale,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Gradient by BLOCK_M queries, over the keys that they see."""
    scale = tl.cast(scale, tl.float32)
    head = tl.program_id(1).to(tl.int64)
    base = head * T * D
    dims = tl.arange(0, BLOCK_D)
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    rows = block * BLOCK_M + tl.arange(0, BLOCK_M)
    mask = (rows[:, None] < T) & (dims[None, :] < D)
    at = base + rows[:, None] * D + dims[None, :]
    q = tl.load(q_ptr + at, mask=mask, other=0.0)
    grad = tl.load(grad_ptr + at, mask=mask, other=0.0)
    lse = tl.load(lse_ptr + head * T + rows, mask=rows < T, other=float("inf"))
    delta = tl.load(delta_ptr + head * T + rows, mask=rows < T, other=0.0)
    grad_q = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    for start in range(0, tl.minimum((block + 1) * BLOCK_M, T), BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        k_mask = (columns[:, None] < T) & (dims[None, :] < D)
        at_k = base + columns[:, None] * D + dims[None, :]
        k = tl.load(k_ptr + at_k, mask=k_mask, other=0.0)
        v = tl.load(v_ptr + at_k, mask=k_mask, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * (scale * LOG2_E)
        weights = tl.exp2(scores - lse[:, None])
        weights = tl.where(rows[:, None] >= columns[None, :], weights, 0.0)
        by_weights = tl.dot(grad, tl.trans(v), input_precision="ieee")
        by_scores = weights * (by_weights - delta[:, None])
        grad_q = tl.dot(by_scores.to(k.dtype), k, grad_q, input_precision="ieee")
    tl.store(grad_q_ptr + at, grad_q * scale, mask=mask)


CONFIGS = [
    config(64, 128, 3, 8),
    config(128, 64, 3, 8),
    config(64, 64, 3, 4),
    config(64, 64, 2, 4),
    config(32, 64, 3, 4),
    config(32, 32, 2, 4),
]
tuned_keys = tune(gradient_of_keys_kernel, CONFIGS)
tuned_queries = tune(gradient_of_queries_kernel, CONFIGS)


def attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by q, k and v; out and lse are what :func:`attention` returned."""
    q, k, v, grad = q.contiguous(), k.contiguous(), v.contiguous(), grad.contiguous()
    # Sum of weight times gradient by weight of a query, which the softmax's derivative subtracts.
    delta = (grad.float() * out.float()).sum(dim=-1)
    grads = grad_q, grad_k, grad_v = [torch.empty_like(tensor) for tensor in (q, k, v)]
    ends = q.shape[2], 1 / math.sqrt(q.shape[3])
    given = (q, k, v, grad, lse, delta)
    by_keys = wrap_triton(tuned_keys) if is_traced(q) else tuned_keys
    by_queries = wrap_triton(tuned_queries) if is_traced(q) else tuned_queries
    launch(gradient_of_keys_kernel, by_keys, "BLOCK_N", *given, grad_k, grad_v, *ends)
    launch(gradient_of_queries_kernel, by_queries, "BLOCK_M", *given, grad_q, *ends)
    return grads[0], grads[1], grads[2]


class CausalAttention(torch.autograd.Function):
    """Forward and backward kernel together: q, k, v (B, H, T, D)."""

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # type: ignore[override]
        out, lse = attention(q, k, v)
        ctx.save_for_backward(q, k, v, out, lse)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        return attention_backward(grad, *ctx.saved_tensors)
