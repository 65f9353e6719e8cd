"""Attention of one new token to a KV cache, in Triton.

There is one query per head, so there is nothing to multiply as matrices: reading the cache is all
the time that it takes. A long cache is read by several programs, each a part of it, so that the
whole GPU reads.

Source: T. Dao et al., Flash-Decoding for long-context inference, 2023.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

SPLIT = 256  # positions of the cache for one program


@triton.jit
def decode_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    lengths_ptr,
    out_ptr,
    lse_ptr,
    heads,
    size,
    scale,
    SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Attention of one head to SPLIT positions of its cache, and their log-sum-exp."""
    head = tl.program_id(0).to(tl.int64)  # of all sequences
    split, splits = tl.program_id(1), tl.num_programs(1)
    length = tl.load(lengths_ptr + head // heads).to(tl.int32)
    dims = tl.arange(0, BLOCK_D)
    q = tl.load(q_ptr + head * D + dims, mask=dims < D, other=0.0).to(tl.float32)
    q *= tl.cast(scale, tl.float32)  # torch.compile passes numbers as float64
    largest = tl.full([], -1e30, dtype=tl.float32)  # of a part without any position
    total = tl.zeros([], dtype=tl.float32)
    acc = tl.zeros([BLOCK_D], dtype=tl.float32)
    base = head * size * D
    for start in range(split * SPLIT, tl.minimum((split + 1) * SPLIT, length), BLOCK):
        places = start + tl.arange(0, BLOCK)
        at = base + places[:, None] * D + dims[None, :]
        mask = (places[:, None] < length) & (dims[None, :] < D)
        k = tl.load(k_ptr + at, mask=mask, other=0.0).to(tl.float32)
        scores = tl.where(places < length, tl.sum(q[None, :] * k, axis=1), -float("inf"))
        now = tl.maximum(largest, tl.max(scores, axis=0))
        weights = tl.exp(scores - now)
        shrink = tl.exp(largest - now)
        total = total * shrink + tl.sum(weights, axis=0)
        v = tl.load(v_ptr + at, mask=mask, other=0.0).to(tl.float32)
        acc = acc * shrink + tl.sum(weights[:, None] * v, axis=0)
        largest = now
    out = acc / tl.maximum(total, 1e-30)
    tl.store(out_ptr + (head * splits + split) * D + dims, out, mask=dims < D)
    lse = largest + tl.log(tl.maximum(total, 1e-30))  # without any position a weight of 0
    tl.store(lse_ptr + head * splits + split, lse)


def decode_attention(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, split: int = SPLIT
) -> Tensor:
    """Attention of the newest token (B, H, D) to its cache (B, H, S, D) -> (B, H, D).

    Args:
        q: the query.
        k, v: the cache, with room for S positions.
        lengths: how many of them are used, (B,), int32 or int64, from 1 to S.
        split: positions for one program, a power of two from 16.

    Raises:
        ValueError: a split that is not one.
    """
    if split < 16 or split & (split - 1):
        raise ValueError(f"split must be a power of two from 16, got {split}")
    batch, heads, size, width = k.shape
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    splits = triton.cdiv(size, split)
    parts = torch.empty(batch, heads, splits, width, dtype=torch.float32, device=q.device)
    lse = torch.empty(batch, heads, splits, dtype=torch.float32, device=q.device)
    decode_kernel[(batch * heads, splits)](
        q,
        k,
        v,
        lengths,
        parts,
        lse,
        heads,
        size,
        1 / math.sqrt(width),
        SPLIT=split,
        BLOCK=min(split, 64),
        D=width,
        BLOCK_D=triton.next_power_of_2(width),
    )
    return combine(parts, lse).to(q.dtype)


def combine(parts: Tensor, lse: Tensor) -> Tensor:
    """Attention to all parts (..., P, D) -> (..., D): each counts by its sum of exponents."""
    return (lse.softmax(dim=-1).unsqueeze(-1) * parts).sum(dim=-2)
