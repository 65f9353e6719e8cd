"""Exercise to step 33, cross-entropy without the logits: the loss and the
gradients of an output layer, a few rows of logits at a time.

The loss of a row of logits is log(sum of exp(logits)) minus the logit of its
target. Its gradient with respect to a logit is exp(logit - log-sum-exp), minus
1 for the target. A row may be longer than a block, so the kernel walks over it
twice: first for the log-sum-exp, then for the gradient.

The largest logit is not known before the end of the first walk. So keep the
largest so far, and a sum of exponents with respect to it; where the largest
grows, the sum so far must shrink by exp(old - new).

Write kernel and function, then: gpu-learning lessons check 33
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def cross_entropy_kernel(
    logits,
    targets,
    losses,
    gradients,
    vocab,
    scale,
    BLOCK: tl.constexpr,
):
    """Loss of one row of logits (rows, vocab), and its gradient times scale.
    Program i has row i.

    targets and losses are pointers to (rows,); BLOCK may be less than vocab.
    gradients (rows, vocab) may be the logits themselves. So read the target's
    logit before the walks: other threads may overwrite it.
    """
    # BEGIN SOLUTION
    row = tl.program_id(0)
    logits += row * vocab
    gradients += row * vocab
    target = tl.load(targets + row)
    wanted = tl.load(logits + target)
    offsets = tl.arange(0, BLOCK)
    largest = -float("inf")
    total = 0.0
    for start in range(0, vocab, BLOCK):
        inside = start + offsets < vocab
        x = tl.load(logits + start + offsets, mask=inside, other=-float("inf"))
        now = tl.maximum(largest, tl.max(x, axis=0))
        total = total * tl.exp(largest - now) + tl.sum(tl.exp(x - now), axis=0)
        largest = now
    lse = largest + tl.log(total)
    tl.store(losses + row, lse - wanted)
    for start in range(0, vocab, BLOCK):
        inside = start + offsets < vocab
        x = tl.load(logits + start + offsets, mask=inside)
        one = tl.where(start + offsets == target, 1.0, 0.0)
        gradient = (tl.exp(x - lse) - one) * scale
        tl.store(gradients + start + offsets, gradient, mask=inside)
    # END SOLUTION


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, rows: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The mean cross-entropy of hidden @ weight.T, and its gradients with
    respect to hidden and weight, with at most ``rows`` rows of logits at once.

    Args:
        hidden: (N, C); weight: (V, C); targets: (N,), int64.
        rows: take hidden[0:rows], then hidden[rows:2 * rows], and so on.

    Launch the kernel with a BLOCK of 64 and a scale of 1 / N, and let it write
    the gradients over the logits. With these, g, the gradients of the product
    x @ w.T are g @ w for x and g.T @ x for w.
    """
    # BEGIN SOLUTION
    losses = hidden.new_empty(len(hidden))
    by_hidden = torch.empty_like(hidden)
    by_weight = torch.zeros_like(weight)
    scale = 1 / len(hidden)
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        logits = hidden[part] @ weight.T
        loss = losses[part]
        cross_entropy_kernel[(len(logits),)](
            logits,
            targets[part],
            loss,
            logits,
            len(weight),
            scale,
            BLOCK=64,
        )
        by_hidden[part] = logits @ weight
        by_weight += logits.T @ hidden[part]
    return losses.mean(), by_hidden, by_weight
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch.nn.functional as F  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from course.exercises.compare import Wrong  # noqa: E402
from course.kernels import launch  # noqa: E402
from course.kernels.launch import Out  # noqa: E402
from course.kernels.memory import MemoryCount  # noqa: E402

HINTS = (
    "First walk: now = tl.maximum(largest, tl.max(x, axis=0)); total = total * "
    "tl.exp(largest - now) + tl.sum(tl.exp(x - now), axis=0); largest = now.",
    "log-sum-exp = largest + tl.log(total). Second walk: load again, store "
    "(tl.exp(x - lse) - (1 at the target)) * scale.",
    "In the function: part = slice(start, start + rows); logits = hidden[part] @ weight.T; launch "
    "the kernel with a grid of (len(logits),); then two products with what it left in logits.",
)
ABOUT = ("cross_entropy_kernel", "cross_entropy_kernel", "linear_cross_entropy")
BLOCK = 64


def _online(x: Tensor, rescale: bool) -> Tensor:
    """Log-sum-exp of rows by blocks; without the rescaling it is wrong."""
    largest, total = torch.full((len(x),), -1e30), torch.zeros(len(x))
    for block in x.split(BLOCK, dim=1):
        now = largest.maximum(block.amax(1))
        if rescale:
            total = total * (largest - now).exp()
        total = total + (block - now[:, None]).exp().sum(1)
        largest = now
    return largest + total.log()


def _beyond(x: Tensor) -> Tensor:
    """Each row with what follows it in memory, up to a multiple of BLOCK."""
    width = -(-x.shape[1] // BLOCK) * BLOCK
    flat = torch.cat([x.flatten(), torch.full((width,), float("nan"))])
    return flat.unfold(0, width, 1)[:: x.shape[1]][: len(x)]


def _check_kernel(mine: Attempt, x: Tensor, scale: float) -> None:
    rows, vocab = x.shape
    targets = torch.randint(0, vocab, (rows,))
    targets[-1] = vocab - 1
    shape = f"{rows} rows of {vocab} logits"
    given = (x, targets, Out(torch.empty(rows)), Out(x), vocab, scale)
    losses, got = launch.triton(mine, "cross_entropy_kernel", rows, *given, BLOCK=BLOCK)
    wanted, lse = x.gather(1, targets[:, None])[:, 0], x.logsumexp(1)
    zeros = F.pad(x, (0, -vocab % BLOCK))
    want = F.cross_entropy(x, targets, reduction="none")
    launch.compare(mine, losses, want, f"loss of {shape}", {
        "where the largest grows, the sum so far must shrink by exp(old - new)": (
            _online(x, False) - wanted
        ),
        "the maximum is not subtracted: exp of a large number is infinite": (
            x.exp().sum(1).log() - wanted
        ),
        "that is the log-sum-exp; subtract the logit of the target": lse,
        "the target's logit is not subtracted from log-sum-exp, but the other way round": (
            wanted - lse
        ),
        "what lies beyond the row counts as 0, whose exponent is not 0; other=-float('inf')": (
            zeros.logsumexp(1) - wanted
        ),
        "the load has no mask: the next row counts, too": _beyond(x).logsumexp(1) - wanted,
        "the largest logit is missing: log-sum-exp is largest + log(sum)": (
            lse - x.amax(1) - wanted
        ),
        "that is the first block alone; walk over the whole row": (
            x[:, :BLOCK].logsumexp(1) - wanted
        ),
        "that is the last block alone; keep what the blocks before it summed": (
            x[:, (vocab - 1) // BLOCK * BLOCK :].logsumexp(1) - wanted
        ),
    })  # fmt: skip
    hot = F.one_hot(targets, vocab)
    chances = x.softmax(1)
    launch.compare(mine, got, (chances - hot) * scale, f"gradient of {shape}", {
        "the 1 of the target is not subtracted": chances * scale,
        "the scale is missing": chances - hot,
        "the signs are reversed": (hot - chances) * scale,
        "the scale is not for the 1 of the target": chances * scale - hot,
    }, atol=1e-6)  # fmt: skip


def _expected(hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> tuple[Tensor, ...]:
    hidden, weight = hidden.requires_grad_(), weight.requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(hidden @ weight.T, targets)
    return (loss.detach(), *torch.autograd.grad(loss, (hidden, weight)))


def _results(hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> list[tuple]:
    """The loss and gradients of each part."""
    return [
        _expected(*(x.clone() for x in (h, weight)), y, rows)
        for h, y in zip(hidden.split(rows), targets.split(rows), strict=True)
    ]


def _overwritten(hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> tuple:
    loss, by_hidden, _ = _expected(hidden.clone(), weight.clone(), targets, rows)
    parts = _results(hidden, weight, targets, rows)
    last = len(hidden) - (len(parts) - 1) * rows
    return loss, by_hidden, parts[-1][2] * last / len(hidden)


def _own_scale(hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> tuple:
    loss, *_ = _expected(hidden.clone(), weight.clone(), targets, rows)
    parts = _results(hidden, weight, targets, rows)
    return loss, torch.cat([part[1] for part in parts]), sum(part[2] for part in parts)


def _scale_of_rows(hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> tuple:
    loss, *grads = _expected(hidden.clone(), weight.clone(), targets, rows)
    return loss, *(grad * len(hidden) / rows for grad in grads)


def _summed(hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> tuple:
    loss, *grads = _expected(hidden.clone(), weight.clone(), targets, rows)
    return (loss * len(hidden), *grads)


MISTAKES = {
    "linear_cross_entropy": {
        "that is the weight's gradient of the last rows alone; add up": _overwritten,
        "the scale is 1 / N, of all positions, not of those of one part": _own_scale,
        "the scale is 1 / N, not 1 / rows": _scale_of_rows,
        "the loss is the sum over the positions; take the mean": _summed,
    }
}


def check(mine: Attempt) -> None:
    _check_kernel(mine, torch.randn(2, 64), 1.0)
    _check_kernel(mine, 3 * torch.randn(3, 150), 0.5)
    rising = torch.randn(2, 150) + torch.arange(150.0)  # the largest grows in each block
    _check_kernel(mine, rising + 300, 0.25)
    hidden, weight = torch.randn(11, 3), torch.randn(70, 3)
    targets = torch.randint(0, 70, (11,))
    given = [x.to(launch.device()) for x in (hidden, weight, targets)]
    mine.same("linear_cross_entropy", *given, 4, expected=_expected)
    with MemoryCount() as seen:
        mine.call("linear_cross_entropy", *given, 4)
    if torch.Size(seen.largest).numel() >= 11 * 70:
        raise Wrong(
            f"linear_cross_entropy makes a tensor {seen.largest} of 11 positions and 70 tokens; "
            "with rows=4 there are logits of 4 positions at a time"
        )


# END HIDDEN TESTS
