"""Exercise for step 13, dropout: what it does, and when it does nothing.

In training dropout sets each value to 0 with probability p. So that the sum of
many values stays the same on average, those that are left are divided by 1 -
p: "inverted" dropout. In use nothing is dropped and nothing has to be scaled.
Random numbers come in as an argument here, so that the result can be compared:
a value is dropped where its number is below p.

Write the function, then: gpu-learning lessons check 13
"""

import torch
from torch import Tensor


def dropout(x: Tensor, p: float, training: bool, noise: Tensor) -> Tensor:
    """Inverted dropout.

    Args:
        x: values, of any shape.
        p: probability with which a value is dropped, below 1.
        training: without it x is returned as it is.
        noise: random numbers from 0 to 1, one per value.
    """
    # BEGIN SOLUTION
    if not training:
        return x
    keep = (noise >= p).to(x.dtype)
    return x * keep / (1 - p)
    # END SOLUTION


# BEGIN HIDDEN TESTS
from course.exercises.attempt import Attempt  # noqa: E402

HINTS = (
    "noise >= p is True where a value stays; a product with it sets the others to 0.",
    "What is left is divided by 1 - p, in training only.",
    "Begin with: if not training: return x.",
)

MISTAKES = {
    "dropout": {
        "what is left is not scaled; divide by 1 - p": lambda x, p, training, noise: (
            x * (noise >= p)
        ),
        "what is left is divided by p; divide by 1 - p": lambda x, p, training, noise: (
            x * (noise >= p) / p if p else x
        ),
        "what is left is multiplied by 1 - p; divide by it": lambda x, p, training, noise: (
            x * (noise >= p) * (1 - p)
        ),
        "the wrong values are dropped: those whose noise is below p": (
            lambda x, p, training, noise: x * (noise < p) / (1 - p)
        ),
        "values are dropped although training is False": lambda x, p, training, noise: (
            x * (noise >= p) / (1 - p)
        ),
        "without training there is nothing to scale": lambda x, p, training, noise: x * (1 - p),
        "that is x as it is; in training values are dropped": lambda x, p, training, noise: x,
    },
}


def check(mine: Attempt) -> None:
    for p, training in ((0.3, True), (0.8, True), (0.3, False), (0.0, True)):
        x = torch.randn(4, 5, requires_grad=True)
        mine.same("dropout", x, p, training, torch.rand(4, 5))


# END HIDDEN TESTS
