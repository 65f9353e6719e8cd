"""Attention of one new token per sequence to a static KV cache."""

import triton
import triton.language as tl

from inference.text.kernels.products import launch_next, wait


@triton.jit
def attention_kernel(
    q_ptr,
    keys_ptr,
    values_ptr,
    positions_ptr,
    out_ptr,
    lse_ptr,
    heads,
    context,
    scale,
    SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PARTS: tl.constexpr,
    STAGES: tl.constexpr,
    PDL: tl.constexpr,
):
    """Attention of one head to SPLIT positions of its sequence's cache (B, context, heads, D).

    With PARTS, out is (B, heads, parts, D) in float32, and lse is log2 of their sums of exponents;
    otherwise one program sees the whole sequence, and out is (B, heads, D).

    Source: T. Dao et al., Flash-Decoding for long-context inference, 2023.
    """
    head, split = tl.program_id(0), tl.program_id(1)  # of all sequences
    sequence = head // heads
    dims = tl.arange(0, BLOCK_D)
    wait(PDL)
    launch_next(PDL)
    length = tl.load(positions_ptr + sequence).to(tl.int32) + 1
    q = tl.load(q_ptr + head * D + dims, mask=dims < D, other=0.0).to(tl.float32)
    q *= tl.cast(scale, tl.float32) * 1.4426950408889634  # exp(x) = exp2(x * log2(e))
    # Every row of a block has sums of its own, so that nothing but q . k is between threads.
    largest = tl.full([BLOCK], -1e30, dtype=tl.float32)  # of a row without any position
    total = tl.zeros([BLOCK], dtype=tl.float32)
    acc = tl.zeros([BLOCK, BLOCK_D], dtype=tl.float32)
    base = (sequence.to(tl.int64) * context * heads + head % heads) * D
    end = tl.minimum((split + 1) * SPLIT, length)
    for start in tl.range(split * SPLIT, end, BLOCK, num_stages=STAGES):  # pyright: ignore[reportGeneralTypeIssues]
        positions = start + tl.arange(0, BLOCK)
        at = base + positions[:, None] * (heads * D) + dims[None, :]
        mask = (positions[:, None] < length) & (dims[None, :] < D)
        k = tl.load(keys_ptr + at, mask=mask, other=0.0).to(tl.float32)
        v = tl.load(values_ptr + at, mask=mask, other=0.0).to(tl.float32)
        scores = tl.where(positions < length, tl.sum(q[None, :] * k, axis=1), -float("inf"))
        now = tl.maximum(largest, scores)
        weights = tl.exp2(scores - now)
        shrink = tl.exp2(largest - now)
        total = total * shrink + weights
        acc = acc * shrink[:, None] + weights[:, None] * v
        largest = now
    now = tl.max(largest, axis=0)
    shrink = tl.exp2(largest - now)
    sum_of_all = tl.maximum(tl.sum(total * shrink, axis=0), 1e-30)
    out = tl.sum(acc * shrink[:, None], axis=0) / sum_of_all
    if PARTS:
        part = head * tl.num_programs(1) + split
        tl.store(out_ptr + part * D + dims, out, mask=dims < D)
        tl.store(lse_ptr + part, now + tl.log2(sum_of_all))
    else:
        tl.store(out_ptr + head * D + dims, out, mask=dims < D)
