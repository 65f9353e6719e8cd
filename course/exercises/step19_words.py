"""Exercise for step 19, word embeddings: which words point the same way.

A word is a vector. How alike two words are is told by the angle between their
vectors, not by their lengths: the cosine is the dot product divided by both
lengths, 1 for the same direction, 0 for a right angle, -1 for the opposite.

Write both functions, then: gpu-learning lessons check 19
"""

import torch
from torch import Tensor


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of each row of a and that of b: (N, D), (N, D) -> (N,)."""
    # BEGIN SOLUTION
    return (a * b).sum(dim=-1) / (a.norm(dim=-1) * b.norm(dim=-1))
    # END SOLUTION


def nearest(embeddings: Tensor, word: int) -> int:
    """The word most like ``word``, itself left out; embeddings are (V, D)."""
    # BEGIN SOLUTION
    alike = cosine(embeddings, embeddings[word].expand_as(embeddings))
    alike[word] = -torch.inf
    return int(alike.argmax())
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch.nn.functional as F  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402

HINTS = (
    "(a * b).sum(dim=-1) is the dot product of each pair of rows, a.norm(dim=-1) the lengths.",
    "embeddings[word].expand_as(embeddings) puts one word beside all, or use broadcasting.",
    "A word is most like itself: set its own cosine to -torch.inf before argmax().",
)
ABOUT = ("cosine", "nearest", "nearest")

MISTAKES = {
    "cosine": {
        "that is the dot product; divide by both lengths": lambda a, b: (a * b).sum(-1),
        "that is divided by the first length only": lambda a, b: (a * b).sum(-1) / a.norm(dim=-1),
        "that is divided by squared lengths; take norm, the square root of the sum of squares": (
            lambda a, b: (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1))
        ),
        "that is a distance: 1 - cosine": lambda a, b: 1 - F.cosine_similarity(a, b),
    },
    "nearest": {
        "that is the word itself; leave it out": lambda embeddings, word: word,
        "that is the least similar word": lambda embeddings, word: int(
            F.cosine_similarity(embeddings, embeddings[word], dim=-1).argmin()
        ),
        "that is by the dot product, in which long vectors win": lambda embeddings, word: int(
            (embeddings @ embeddings[word]).index_fill(0, torch.tensor([word]), -torch.inf).argmax()
        ),
        "that is the nearest by distance; compare directions": lambda embeddings, word: int(
            (embeddings - embeddings[word])
            .norm(dim=-1)
            .index_fill(0, torch.tensor([word]), torch.inf)
            .argmin()
        ),
    },
}


def check(mine: Attempt) -> None:
    for rows, columns in ((3, 4), (6, 2)):
        a = torch.randn(rows, columns, requires_grad=True)
        b = 3 * torch.randn(rows, columns)
        mine.same("cosine", a, b, expected=F.cosine_similarity)
    for words in (6, 10, 12):
        lengths = 5 * torch.rand(words, 1) + 0.1
        embeddings = lengths * torch.randn(words, 4)
        for word in range(3):
            mine.same("nearest", embeddings, word)


# END HIDDEN TESTS
