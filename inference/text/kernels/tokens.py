"""The two ends of a greedy step: the vectors of the tokens, and the most likely next tokens."""

import triton
import triton.language as tl

from inference.text.kernels.products import launch_next, wait


@triton.jit
def embedding_kernel(
    ids_ptr,
    positions_ptr,
    token_ptr,
    scale_ptr,
    position_ptr,
    out_ptr,
    width,
    BLOCK: tl.constexpr,
    PDL: tl.constexpr,
):
    """Vector of a sequence's new token at its position, in float32; a program per sequence."""
    row = tl.program_id(0)
    k = tl.arange(0, BLOCK)
    wait(PDL)
    launch_next(PDL)
    token, position = tl.load(ids_ptr + row), tl.load(positions_ptr + row)
    x = tl.load(token_ptr + token * width + k, mask=k < width).to(tl.float32)
    if scale_ptr is not None:
        x *= tl.load(scale_ptr + token)
    x += tl.load(position_ptr + position * width + k, mask=k < width).to(tl.float32)
    tl.store(out_ptr + row * width + k, x, mask=k < width)


@triton.jit
def block_argmax_kernel(
    logits_ptr,
    largest_ptr,
    index_ptr,
    vocab_size,
    stride,
    BLOCK: tl.constexpr,
    PDL: tl.constexpr,
):
    """The largest of BLOCK logits of a sequence, and the first token that has it."""
    row, block = tl.program_id(0), tl.program_id(1)
    token = block * BLOCK + tl.arange(0, BLOCK)
    inside = token < vocab_size
    wait(PDL)
    launch_next(PDL)
    logits = tl.load(logits_ptr + row * stride + token, mask=inside, other=-float("inf"))
    largest = tl.max(logits, axis=0)
    index = tl.min(tl.where((logits == largest) & inside, token, vocab_size), axis=0)
    at = row * tl.num_programs(1) + block
    tl.store(largest_ptr + at, largest)
    tl.store(index_ptr + at, index)


@triton.jit
def next_token_kernel(
    largest_ptr,
    index_ptr,
    ids_ptr,
    positions_ptr,
    blocks,
    vocab_size,
    context,
    BLOCK: tl.constexpr,
    PDL: tl.constexpr,
):
    """Replaces a sequence's token by the most likely next one, and moves its position on."""
    row = tl.program_id(0)
    block = tl.arange(0, BLOCK)
    inside = block < blocks
    wait(PDL)
    launch_next(PDL)
    logits = tl.load(largest_ptr + row * blocks + block, mask=inside, other=-float("inf"))
    index = tl.load(index_ptr + row * blocks + block, mask=inside, other=vocab_size)
    largest = tl.max(logits, axis=0)
    token = tl.min(tl.where(logits == largest, index, vocab_size), axis=0)
    # No logit equals the largest where all are NaN.
    tl.store(ids_ptr + row, tl.minimum(token, vocab_size - 1).to(tl.int64))
    position = tl.load(positions_ptr + row) + 1
    tl.store(positions_ptr + row, tl.minimum(position, context - 1))
