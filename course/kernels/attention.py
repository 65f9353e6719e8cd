"""Causal attention in Triton.

The scores (T, T) are never stored: a program keeps its queries and walks over blocks of keys, with
the softmax computed online.

Source: T. Dao, FlashAttention-2, 2023, arXiv:2307.08691.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import wrap_triton

from course.kernels.tracing import is_traced

# exp(x) = exp2(x * LOG2_E), and exp2 is one instruction of a GPU.
LOG2_E = tl.constexpr(1.4426950408889634)
KEY = ["T", "D"]  # what the configs are tuned for, with the type of the tensors


@triton.jit
def attention_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    out_ptr,
    lse_ptr,
    T,
    scale,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Outputs of BLOCK_M queries of one head."""
    # The last queries see the most keys. Begun first, they do not keep the others waiting.
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    base = tl.program_id(1).to(tl.int64) * T * D
    rows = block * BLOCK_M + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    q_mask = (rows[:, None] < T) & (dims[None, :] < D)
    q = tl.load(q_ptr + base + rows[:, None] * D + dims[None, :], mask=q_mask, other=0.0)
    scale = tl.cast(scale, tl.float32) * LOG2_E  # torch.compile passes numbers as float64
    largest = tl.full([BLOCK_M], -float("inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_M], dtype=tl.float32)
    acc = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    # Keys that all of these queries see need no mask; the blocks on the diagonal do.
    first = block * BLOCK_M // BLOCK_N * BLOCK_N
    acc, total, largest = attend(
        acc,
        total,
        largest,
        q,
        k_ptr + base,
        v_ptr + base,
        rows,
        dims,
        0,
        first,
        T,
        scale,
        False,
        BLOCK_N,
        D,
        BLOCK_D,
    )
    last = tl.minimum((block + 1) * BLOCK_M, T)
    acc, total, largest = attend(
        acc,
        total,
        largest,
        q,
        k_ptr + base,
        v_ptr + base,
        rows,
        dims,
        first,
        last,
        T,
        scale,
        True,
        BLOCK_N,
        D,
        BLOCK_D,
    )
    acc = acc / total[:, None]
    tl.store(out_ptr + base + rows[:, None] * D + dims[None, :], acc, mask=q_mask)
    lse = largest + tl.log2(total)
    tl.store(lse_ptr + tl.program_id(1).to(tl.int64) * T + rows, lse, mask=rows < T)


@triton.jit
def attend(
    acc,
    total,
    largest,
    q,
    k_ptr,
    v_ptr,
    rows,
    dims,
    first,
    last,
    T,
    scale,
    MASKED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """The online softmax over the keys from first to last."""
    for start in range(first, last, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        k_at = k_ptr + columns[None, :] * D + dims[:, None]
        v_at = v_ptr + columns[:, None] * D + dims[None, :]
        if MASKED:
            k = tl.load(k_at, mask=(columns[None, :] < T) & (dims[:, None] < D), other=0.0)
        elif D == BLOCK_D:
            k = tl.load(k_at)
        else:
            k = tl.load(k_at, mask=dims[:, None] < D, other=0.0)
        scores = tl.dot(q, k, input_precision="ieee")
        if MASKED:
            scores = tl.where(rows[:, None] >= columns[None, :], scores, -float("inf"))
        now = tl.maximum(largest, tl.max(scores, axis=1) * scale)
        weights = tl.exp2(scores * scale - now[:, None])  # one multiply-add for each score
        shrink = tl.exp2(largest - now)  # what was summed with respect to the former maximum
        total = total * shrink + tl.sum(weights, axis=1)
        acc = acc * shrink[:, None]
        if MASKED:
            v = tl.load(v_at, mask=(columns[:, None] < T) & (dims[None, :] < D), other=0.0)
        elif D == BLOCK_D:
            v = tl.load(v_at)
        else:
            v = tl.load(v_at, mask=dims[None, :] < D, other=0.0)
        acc = tl.dot(weights.to(v.dtype), v, acc, input_precision="ieee")
        largest = now
    return acc, total, largest


def config(m: int, n: int, stages: int, warps: int) -> triton.Config:
    return triton.Config({"BLOCK_M": m, "BLOCK_N": n}, num_stages=stages, num_warps=warps)


CONFIGS = [
    config(128, 128, 3, 8),
    config(128, 128, 3, 4),
    config(128, 64, 4, 8),
    config(128, 64, 3, 4),
    config(128, 64, 4, 4),
    config(64, 64, 3, 4),
    config(64, 32, 2, 4),
    config(32, 32, 2, 4),
]


def worth_compiling(configs: list[triton.Config], arguments: dict, **_) -> list[triton.Config]:
    """Those that are to be compiled and timed for these queries.

    IEEE float32 is multiplied outside of the tensor cores, and large blocks of it take minutes to
    compile. Blocks of more than the positions are masked work.
    """
    most = 64 * 32 if arguments["q_ptr"].dtype == torch.float32 else 128 * 128
    side = max(arguments["T"], 32)
    return [
        one
        for one in configs
        if one.kwargs["BLOCK_M"] * one.kwargs["BLOCK_N"] <= most
        and max(one.kwargs["BLOCK_M"], one.kwargs["BLOCK_N"]) <= side
    ]


def tune(kernel, configs: list[triton.Config]):
    """The kernel with that config for each length, width and type which is fastest there."""
    prune = {"early_config_prune": worth_compiling}
    return triton.autotune(configs=configs, key=KEY, prune_configs_by=prune)(kernel)


tuned_attention = tune(attention_kernel, CONFIGS)


def attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Causal attention of q, k, v (B, H, T, D): the outputs (B, H, T, D), and for the backward
    pass the log2 of each query's sum of exponents (B, H, T), in float32.

    Raises:
        ValueError: shapes that differ, or a head wider than 256.
    """
    _refuse(q, k, v)
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    out = torch.empty_like(q)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    ends = q.shape[2], 1 / math.sqrt(q.shape[3])
    tuned = wrap_triton(tuned_attention) if is_traced(q) else tuned_attention
    launch(attention_kernel, tuned, "BLOCK_M", q, k, v, out, lse, *ends)
    return out, lse


def launch(kernel, tuned, blocks_of: str, q: Tensor, *arguments) -> None:
    """A kernel over blocks of the positions and over all heads."""
    batch, heads, length, width = q.shape
    # tl.dot takes sizes from 16.
    sizes = {"D": width, "BLOCK_D": max(triton.next_power_of_2(width), 16)}

    def grid(chosen: dict) -> tuple[int, int]:
        return triton.cdiv(length, chosen[blocks_of]), batch * heads

    if q.device.type == "cuda":
        tuned[grid](q, *arguments, **sizes)
    else:  # the interpreter has nothing to tune
        kernel[grid](q, *arguments, BLOCK_M=32, BLOCK_N=16, **sizes)


def _refuse(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.ndim != 4 or k.shape != q.shape or v.shape != q.shape:
        raise ValueError(
            "query, key and value must have one shape (B, H, T, D), got "
            f"{tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        )
    if q.shape[3] > 256:
        raise ValueError(
            f"a head of width {q.shape[3]} is too wide for the kernel; 256 is its most"
        )
