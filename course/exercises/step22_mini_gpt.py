"""Exercise for step 22, MiniGPT: which tokens may be drawn, and how likely.

A language model returns one logit per token. The temperature divides them:
below 1 the likely tokens become likelier, above 1 the others do. Top-k keeps
the k largest logits. Top-p keeps the fewest most likely tokens whose
probabilities sum to p or more: the token with which the sum reaches p is the
last that stays. What is not kept gets the logit minus infinity, and so the
probability 0.

Write the three functions, then: gpu-learning lessons check 22
"""

import math

from torch import Tensor


def with_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Probabilities (V,) of logits (V,) at a temperature above 0."""
    # BEGIN SOLUTION
    return (logits / temperature).softmax(dim=-1)
    # END SOLUTION


def top_k(logits: Tensor, k: int) -> Tensor:
    """Logits (V,) with all but the k largest at -inf; all stay for k = 0."""
    # BEGIN SOLUTION
    if k == 0:
        return logits
    smallest = logits.topk(k).values[-1]
    return logits.masked_fill(logits < smallest, -math.inf)
    # END SOLUTION


def top_p(logits: Tensor, p: float) -> Tensor:
    """Logits (V,) with all that top-p does not keep at -inf."""
    # BEGIN SOLUTION
    probabilities, order = logits.softmax(dim=-1).sort(descending=True)
    # The sum of the tokens that are more likely than each.
    before = probabilities.cumsum(dim=-1) - probabilities
    dropped = order[before >= p]
    return logits.index_fill(0, dropped, -math.inf)
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402

HINTS = (
    "Divide by the temperature first, then softmax(dim=-1).",
    "logits.topk(k).values[-1] is the smallest logit that stays; masked_fill(logits < it, "
    "-math.inf) drops the rest.",
    "For top-p sort the probabilities, largest first. cumsum minus the probability itself is the "
    "sum before each token; a token stays where that sum is below p. sort also returns the order: "
    "which token is at which position.",
)
ABOUT = ("with_temperature", "top_k", "top_p")


def _nucleus(logits: Tensor, p: float, crossing: bool) -> Tensor:
    probabilities, order = logits.softmax(dim=-1).sort(descending=True)
    total = probabilities.cumsum(dim=-1)
    keep = total - probabilities < p if crossing else total <= p
    return logits.index_fill(0, order[~keep], -math.inf)


MISTAKES = {
    "with_temperature": {
        "the logits are multiplied; divide them by the temperature": lambda x, t: (x * t).softmax(
            dim=-1
        ),
        "the probabilities are divided; divide the logits, before the softmax": lambda x, t: (
            x.softmax(dim=-1) / t
        ),
        "the temperature is not used": lambda x, t: x.softmax(dim=-1),
        "these are logits; softmax makes probabilities of them": lambda x, t: x / t,
    },
    "top_k": {
        "k of 0 keeps all tokens": lambda x, k: torch.full_like(x, -math.inf) if k == 0 else x,
        "what is dropped is 0; a logit of 0 can still be drawn, take minus infinity": lambda x, k: (
            x.masked_fill(x < x.topk(k).values[-1], 0.0) if k else x
        ),
        "these are the k largest alone; keep the shape and set the others to minus infinity": (
            lambda x, k: x.topk(k).values if k else x
        ),
        "the k smallest are kept; keep the largest": lambda x, k: (
            x.masked_fill(x > x.topk(k, largest=False).values[-1], -math.inf) if k else x
        ),
    },
    "top_p": {
        "the token with which the sum reaches p is missing; it stays": lambda x, p: _nucleus(
            x, p, crossing=False
        ),
        "that keeps tokens of a probability above p; sum them, largest first": lambda x, p: (
            x.masked_fill(x.softmax(-1) < p, -math.inf)
        ),
        "the sum is taken in the vocabulary's order; sort the probabilities first": lambda x, p: (
            x.masked_fill(x.softmax(-1).cumsum(-1) - x.softmax(-1) >= p, -math.inf)
        ),
    },
}


def check(mine: Attempt) -> None:
    for size in (6, 15):
        logits = 2 * torch.randn(size)
        for temperature in (0.5, 1.0, 1.5):
            mine.same("with_temperature", logits, temperature)
        for k in (1, 3, 0, size):
            mine.same("top_k", logits, k)
        for p in (0.5, 0.9, 0.05, 1.0):
            mine.same("top_p", logits, p)


# END HIDDEN TESTS
