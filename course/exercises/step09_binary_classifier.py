"""Exercise for step 9, two classes: the loss of a yes or no, from the logit.

A logit is what the net says before the sigmoid: any number, positive for a
yes. The binary cross entropy of a probability p is -log(p) for a yes and
-log(1 - p) for a no. Of a net that is very sure p is rounded to 0 or 1, and
log(0) is minus infinity. From the logit x it can be written so that no such
logarithm is ever taken: max(x, 0) - x * y + log(1 + exp(-|x|)).

Write both functions, then: gpu-learning lessons check 9
"""

import torch
from torch import Tensor


def bce_with_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean binary cross entropy: logits (N,) and labels (N,) -> ().

    Labels are 0.0 and 1.0.
    """
    # BEGIN SOLUTION
    small = torch.log1p(torch.exp(-logits.abs()))
    return (logits.clamp(min=0) - logits * labels + small).mean()
    # END SOLUTION


def predict(logits: Tensor) -> Tensor:
    """Logits (N,) -> classes (N,), int64: 1 for a probability above 1/2."""
    # BEGIN SOLUTION
    return (logits > 0).long()
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch.nn.functional as F  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402

HINTS = (
    "Write the formula of the introduction term by term; x.clamp(min=0) is max(x, 0).",
    "The result is the mean over all samples, and it must be finite for logits of 200.",
    "The sigmoid is above one half where the logit is above 0, so predict needs no sigmoid; "
    ".long() makes int64 of True and False.",
)
ABOUT = ("bce_with_logits", "bce_with_logits", "predict")

MISTAKES = {
    "bce_with_logits": {
        "that is log(sigmoid(x)) of a net that is very sure; use the formula with |x|": (
            lambda x, y: -(y * x.sigmoid().log() + (1 - y) * (1 - x.sigmoid()).log()).mean()
        ),
        "that is the sum; take the mean": lambda x, y: F.binary_cross_entropy_with_logits(
            x, y, reduction="sum"
        ),
        "one loss per sample; take their mean": lambda x, y: F.binary_cross_entropy_with_logits(
            x, y, reduction="none"
        ),
        "the labels are the wrong way round": lambda x, y: F.binary_cross_entropy_with_logits(
            x, 1 - y
        ),
        "that is the loss of a second sigmoid on top": lambda x, y: (
            F.binary_cross_entropy_with_logits(x.sigmoid(), y)
        ),
    },
    "predict": {
        "a logit of 0, not of one half, is a probability of one half": lambda x: (x > 0.5).long(),
        "1 and 0 are the wrong way round": lambda x: (x < 0).long(),
    },
}


def check(mine: Attempt) -> None:
    for size in (4, 7):
        logits = (2 * torch.randn(size)).requires_grad_()
        labels = (torch.rand(size) > 0.5).float()
        mine.same("bce_with_logits", logits, labels, expected=F.binary_cross_entropy_with_logits)
    sure = torch.tensor([200.0, -200.0, 150.0])
    labels = torch.tensor([1.0, 0.0, 0.0])
    mine.same("bce_with_logits", sure, labels, expected=F.binary_cross_entropy_with_logits)
    mine.same("predict", torch.tensor([0.2, -0.2, 3.0, -3.0]))
    mine.same("predict", torch.randn(9))


# END HIDDEN TESTS
