"""Exercise to step 34, attention without the scores: causal attention for
training, and attention of one new token to a KV cache.

The softmax is online, as in step 33, but for a block of queries at a time and
with a weighted sum of values beside the sum of exponents:

    now    = max(largest, largest score of this block of keys)
    weight = exp(score - now)
    shrink = exp(largest - now)
    total  = total * shrink + sum of weight
    acc    = acc * shrink + weight @ values

At the end the output is acc / total. The scores of all keys are never there
at once.

Write both kernels, then: gpu-learning lessons check 34
"""

import triton
import triton.language as tl


@triton.jit
def attention_kernel(
    q,
    k,
    v,
    out,
    T,
    scale,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    D: tl.constexpr,
):
    """Causal attention of BLOCK_M queries, to BLOCK_N keys at a time.

    q, k, v and out are (heads, T, D), contiguous, in float32; program (i, h)
    has the queries from i * BLOCK_M on of head h. A score is the dot product
    of query and key times scale; a query sees the keys up to its own position.
    D is at least 16, and tl.dot takes input_precision="ieee".
    """
    # BEGIN SOLUTION
    base = tl.program_id(1) * T * D
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, D)
    at_rows = base + rows[:, None] * D + dims[None, :]
    inside = rows[:, None] < T
    queries = tl.load(q + at_rows, mask=inside, other=0.0)
    largest = tl.full([BLOCK_M], -float("inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_M], dtype=tl.float32)
    acc = tl.zeros([BLOCK_M, D], dtype=tl.float32)
    end = tl.minimum((tl.program_id(0) + 1) * BLOCK_M, T)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        at = base + columns[:, None] * D + dims[None, :]
        keys = tl.load(k + at, mask=columns[:, None] < T, other=0.0)
        values = tl.load(v + at, mask=columns[:, None] < T, other=0.0)
        scores = tl.dot(queries, tl.trans(keys), input_precision="ieee") * scale
        seen = rows[:, None] >= columns[None, :]
        scores = tl.where(seen, scores, -float("inf"))
        now = tl.maximum(largest, tl.max(scores, axis=1))
        weights = tl.exp(scores - now[:, None])
        shrink = tl.exp(largest - now)
        total = total * shrink + tl.sum(weights, axis=1)
        acc = acc * shrink[:, None]
        acc = tl.dot(weights, values, acc, input_precision="ieee")
        largest = now
    tl.store(out + at_rows, acc / total[:, None], mask=inside)
    # END SOLUTION


@triton.jit
def decode_kernel(
    q,
    k,
    v,
    lengths,
    out,
    S,
    scale,
    BLOCK: tl.constexpr,
    D: tl.constexpr,
):
    """Attention of one query to the positions of its cache that are used.

    q and out are (B, D), k and v are (B, S, D), lengths is (B,), int64:
    sequence b has lengths[b] positions, and what is after them in its cache is
    left from before. Program b has sequence b; it walks over the positions,
    BLOCK at a time. There is one query alone, so use tl.sum, not tl.dot.
    """
    # BEGIN SOLUTION
    b = tl.program_id(0)
    length = tl.load(lengths + b)
    dims = tl.arange(0, D)
    query = tl.load(q + b * D + dims) * scale
    largest = -float("inf")
    total = 0.0
    acc = tl.zeros([D], dtype=tl.float32)
    for start in range(0, length, BLOCK):
        places = start + tl.arange(0, BLOCK)
        used = places < length
        at = b * S * D + places[:, None] * D + dims[None, :]
        keys = tl.load(k + at, mask=used[:, None], other=0.0)
        values = tl.load(v + at, mask=used[:, None], other=0.0)
        scores = tl.sum(query[None, :] * keys, axis=1)
        scores = tl.where(used, scores, -float("inf"))
        now = tl.maximum(largest, tl.max(scores, axis=0))
        weights = tl.exp(scores - now)
        shrink = tl.exp(largest - now)
        total = total * shrink + tl.sum(weights, axis=0)
        acc = acc * shrink + tl.sum(weights[:, None] * values, axis=0)
        largest = now
    tl.store(out + b * D + dims, acc / total)
    # END SOLUTION


# BEGIN HIDDEN TESTS
import math  # noqa: E402

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from course.kernels import interpreter, launch  # noqa: E402
from course.kernels.launch import Out  # noqa: E402

HINTS = (
    "Keys beyond T: mask both loads. Keys after the query: tl.where(rows[:, None] >= "
    "columns[None, :], scores, -float('inf')), before the maximum. The keys end at "
    "(tl.program_id(0) + 1) * BLOCK_M, or at T: no query of the block sees more.",
    "Before the loop largest is minus infinity, total and acc are 0. shrink is a number per query: "
    "acc * shrink[:, None].",
    "The keys end at the sequence's length, tl.load(lengths + b); mask loads and scores beyond it. "
    "Of one query the scores are tl.sum(query[None, :] * keys, axis=1), and largest, total and "
    "shrink are single numbers.",
)
ABOUT = ("attention_kernel", "attention_kernel", "decode_kernel")
BLOCK = 16


def _online(
    scores: Tensor,
    values: Tensor,
    size: int,
    shrink_total: bool = True,
    shrink_acc: bool = True,
    keep: bool = True,
) -> Tensor:
    """Attention by blocks of keys, with what a learner may forget: (..., M, N), (..., N, D)."""
    largest = torch.full((*scores.shape[:-1], 1), -1e30)
    total, acc = torch.zeros_like(largest), torch.zeros(*scores.shape[:-1], values.shape[-1])
    for block, part in zip(scores.split(size, -1), values.split(size, -2), strict=True):
        now = largest.maximum(block.amax(-1, keepdim=True))
        shrink = (largest - now).exp()
        weights = (block - now).exp()
        total = total * (shrink if shrink_total else 1) + weights.sum(-1, keepdim=True)
        acc = acc * (shrink if shrink_acc else 1) + weights @ part
        largest = now if keep else largest
    return acc / total


_SHRINK = "where the largest grows, {} so far must shrink by exp(largest - now)"


def _rescaling(scores: Tensor, v: Tensor, size: int) -> dict[str, Tensor]:
    return {
        _SHRINK.format("total and acc"): _online(scores, v, size, False, False),
        _SHRINK.format("acc"): _online(scores, v, size, True, False),
        _SHRINK.format("total"): _online(scores, v, size, False, True),
        "only the last block of keys counts: keep the maximum for the next one, largest = now": (
            _online(scores, v, size, keep=False)
        ),
    }


def _check_attention(mine: Attempt, q: Tensor, k: Tensor, v: Tensor, keys: int) -> None:
    heads, length, width = q.shape
    scale = 1 / math.sqrt(width)
    given = (q, k, v, Out(q), length, scale)
    sizes = {"BLOCK_M": BLOCK, "BLOCK_N": keys, "D": width}
    grid = (-(-length // BLOCK), heads)
    (got,) = launch.triton(mine, "attention_kernel", grid, *given, **sizes)
    want = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    raw = q @ k.transpose(1, 2)
    ones = torch.ones(length, length, dtype=torch.bool)
    scores = (raw * scale).masked_fill(ones.triu(1), -math.inf)
    blocks = torch.arange(length) // BLOCK
    own = blocks[:, None] == blocks
    exponents = (scores - scores.amax(-1, keepdim=True)).exp()
    launch.compare(mine, got, want, f"attention of {heads} heads, {length} positions", {
        "there is no causal mask: queries see the keys after them": (
            F.scaled_dot_product_attention(q, k, v)
        ),
        "the mask hides a query's own position; it sees the keys up to itself, >=": (
            scores.masked_fill(~ones.tril(-1), -math.inf).softmax(-1) @ v
        ),
        "the mask is off by one: queries see the key after them": (
            (raw * scale).masked_fill(ones.triu(2), -math.inf).softmax(-1) @ v
        ),
        "the mask hides the past; hide the future": (
            (raw * scale).masked_fill(ones.tril(-1), -math.inf).softmax(-1) @ v
        ),
        "the scores are not multiplied by scale": (
            raw.masked_fill(ones.triu(1), -math.inf).softmax(-1) @ v
        ),
        "acc is not divided by total": exponents @ v,
        "the last block of keys, which holds the queries' own positions, is missing": (
            scores.masked_fill(own, -math.inf).softmax(-1) @ v
        ),
        "that is the block of the queries' own positions alone; begin at key 0": (
            scores.masked_fill(~own, -math.inf).softmax(-1) @ v
        ),
        "scores of the future are 0, and exp(0) is 1; set them to minus infinity": (
            _zeroed(raw * scale, ones, blocks) @ v
        ),
        **_rescaling(scores, v, keys),
    })  # fmt: skip


def _zeroed(scores: Tensor, ones: Tensor, blocks: Tensor) -> Tensor:
    """Weights where the future within the blocks that are read counts as 0."""
    unread = blocks[:, None] < blocks
    return scores.masked_fill(ones.triu(1), 0.0).masked_fill(unread, -math.inf).softmax(-1)


def _check_decode(mine: Attempt, lengths: list[int], size: int, width: int) -> None:
    sequences = len(lengths)
    q = torch.randn(sequences, width)
    k, cache = (torch.randn(sequences, size, width) for _ in range(2))
    k *= torch.linspace(0.5, 4, size)[:, None]  # so that the largest score grows on the way
    used, places = torch.tensor(lengths), torch.arange(size)
    whole = -(-used // BLOCK) * BLOCK
    unread = places >= whole[:, None]
    k[unread] = cache[unread] = math.nan  # whoever reads these blocks shows it
    v = cache.nan_to_num()
    scale = 1 / math.sqrt(width)
    given = (q, k, cache, used, Out(q), size, scale)
    with interpreter.empty_loads() as empty:
        (got,) = launch.triton(mine, "decode_kernel", sequences, *given, BLOCK=BLOCK, D=width)
    raw = (k @ q[:, :, None])[..., 0]

    def attend(end: Tensor, scores: Tensor, values: Tensor = v) -> Tensor:
        weights = scores.masked_fill(places >= end[:, None], -math.inf).softmax(-1)
        return (weights[:, None] @ values)[:, 0]

    scores = (raw * scale).masked_fill(places >= used[:, None], -math.inf)
    zero = (raw * scale).masked_fill(places >= used[:, None], 0.0).masked_fill(unread, -math.inf)
    zeroed = (zero.softmax(-1) * (places < used[:, None]))[:, None] @ v
    rescaled = {
        sentence: result[:, 0] for sentence, result in _rescaling(scores[:, None], v, BLOCK).items()
    }
    what = f"attention to a cache of {size}, of which {lengths} are used"
    launch.compare(mine, got, attend(used, raw * scale), what, {
        "it reads the whole cache; what is after the sequence's length is left from before": (
            attend(0 * used + size, raw * scale)
        ),
        "the values of the whole cache are read; end the loop at the sequence's length": (
            attend(used, raw * scale, cache)
        ),
        "the last block is not masked: positions from length on count": (
            attend(whole, raw * scale)
        ),
        "unused positions of the last block count with a score of 0; set it to minus infinity": (
            zeroed[:, 0]
        ),
        "the position after the last one counts, too; places < length": (
            attend(used + 1, raw * scale)
        ),
        "the last position is missing; there are length of them": attend(used - 1, raw * scale),
        "all sequences have the length of the first": attend(0 * used + used[0], raw * scale),
        "the scores are not multiplied by scale": attend(used, raw),
        **rescaled,
    })  # fmt: skip
    if empty:
        raise launch.Wrong(
            f"{what} is right, but {len(empty)} loads read no position that is used; end the loop "
            "at the sequence's length, not at S"
        )


def check(mine: Attempt) -> None:
    for heads, length, width, keys in ((1, 16, 16, BLOCK), (2, 37, 16, 2 * BLOCK)):
        q, k, v = (torch.randn(heads, length, width) for _ in range(3))
        k *= torch.linspace(0.5, 3, length)[:, None]
        _check_attention(mine, q, k, v, keys)
    _check_decode(mine, [16], 16, 16)
    _check_decode(mine, [17, 3, 40], 48, 16)


# END HIDDEN TESTS
