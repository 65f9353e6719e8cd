"""Exercise for step 20, attention: softmax(Q K^T / sqrt(d)) V, and a mask.

The score of a query and a key is their dot product, divided by sqrt(d), d
being their width. The softmax over the keys makes weights of them that sum to
1, and the result is the mean of the values with these weights. In a language
model position t must not see the positions after it: their scores are set to
minus infinity before the softmax, whose weight for them is then 0.

Write both functions, then: gpu-learning lessons check 20
"""

import math

import torch
from torch import Tensor


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """The causal weights of T positions: (B, T, d) and (B, T, d) -> (B, T, T).

    Row t has the weights of the query at position t for the keys 0 to T - 1.
    """
    # BEGIN SOLUTION
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, T, T)
    size = scores.shape[-1]
    ones = torch.ones(size, size, dtype=torch.bool, device=q.device)
    future = ones.triu(diagonal=1)
    return scores.masked_fill(future, -math.inf).softmax(dim=-1)
    # END SOLUTION


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention: (B, T, d), (B, T, d), (B, T, d) -> (B, T, d)."""
    # BEGIN SOLUTION
    return attention_weights(q, k) @ v
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch.nn.functional as F  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from lightning_modules.nets.gpt import Attention, GPTConfig  # noqa: E402

HINTS = (
    "k.transpose(-2, -1) turns (B, T, d) into (B, d, T), so that q @ it is (B, T, T): the scores, "
    "before the division by the square root of q.shape[-1].",
    "The mask is a boolean (T, T), True above the diagonal, where the key is after the query: "
    "triu(1) of ones makes it, and masked_fill sets the scores there to minus infinity. The "
    "softmax comes after the mask and is over the keys, dim=-1.",
    "The weights are (B, T, T) and v is (B, T, d): attention is their product.",
)
ABOUT = ("attention_weights", "attention_weights", "attention")


def _weights(
    q: Tensor, k: Tensor, scale: float | None = None, fill: float = -math.inf, dim: int = -1
) -> Tensor:
    scores = q @ k.transpose(-2, -1) / (math.sqrt(q.shape[-1]) if scale is None else scale)
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(future, fill).softmax(dim=dim)


MISTAKES = {
    "attention_weights": {
        "the scores are not divided by sqrt(d)": lambda q, k: _weights(q, k, 1.0),
        "the scores are divided by d; divide by sqrt(d)": lambda q, k: _weights(q, k, q.shape[-1]),
        "that is divided by sqrt(T); divide by sqrt(d), the width of a query": lambda q, k: (
            _weights(q, k, math.sqrt(q.shape[1]))
        ),
        "there is no mask: positions see the future": lambda q, k: (
            q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        ).softmax(dim=-1),
        "row 0 must attend to itself alone: there is no mask, and no division by sqrt(d)": (
            lambda q, k: (q @ k.transpose(-2, -1)).softmax(dim=-1)
        ),
        "scores of the future are 0, and exp(0) is 1; set them to minus infinity": lambda q, k: (
            _weights(q, k, fill=0.0)
        ),
        "the softmax is over the queries; take it over the keys, dim=-1": lambda q, k: _weights(
            q, k, dim=-2
        ),
        "the mask hides a position from itself, too; begin above the diagonal": lambda q, k: (
            (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]))
            .masked_fill(torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).triu(0), -math.inf)
            .softmax(dim=-1)
        ),
        "the mask hides the past; hide the future": lambda q, k: (
            (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]))
            .masked_fill(torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).tril(-1), -math.inf)
            .softmax(dim=-1)
        ),
        "the mask is inverted: it leaves the future; it must be True where the future is": (
            lambda q, k: (
                (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]))
                .masked_fill(torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).tril(), -math.inf)
                .softmax(dim=-1)
            )
        ),
        "the weights of the future are set to 0 after the softmax; rows must still sum to 1": (
            lambda q, k: (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1).tril()
        ),
    },
    "attention": {
        "that is a mean of the keys; the weights are for the values": lambda q, k, v: (
            _weights(q, k) @ k
        ),
        "positions see the future: scaled_dot_product_attention needs is_causal=True": (
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v)
        ),
        "the weights are transposed": lambda q, k, v: _weights(q, k).transpose(-2, -1) @ v,
    },
}


def _causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def check(mine: Attempt) -> None:
    for batch, length, width in ((1, 4, 8), (2, 5, 3), (3, 1, 2)):
        layer = Attention(GPTConfig(width=width))
        x = 2 * torch.randn(batch, length, width)
        q, k, v = (tensor[:, 0].detach().requires_grad_() for tensor in layer.split(x))
        got = mine.same("attention_weights", q, k)
        mine.equal(got.detach(), layer.weights(x)[:, 0].detach(), "attention_weights")
        mine.same("attention", q, k, v, expected=_causal)


# END HIDDEN TESTS
