"""Exercise for step 10, handwritten digits: what goes in, and what comes out.

The images of MNIST are bytes from 0 to 255. A net wants small numbers around
0: pixels from 0 to 1, less their mean (0.1307 over MNIST), divided by their
standard deviation (0.3081). Linear layers want one row of numbers per image.
What comes out are ten logits per image, and the class with the highest is the
answer.

Write both functions, then: gpu-learning lessons check 10
"""

import torch
from torch import Tensor

MEAN, STD = 0.1307, 0.3081


def prepare(images: Tensor) -> Tensor:
    """Normalizes and flattens: uint8 (B, 28, 28) -> float32 (B, 784)."""
    # BEGIN SOLUTION
    pixels = images.float() / 255
    return ((pixels - MEAN) / STD).flatten(start_dim=1)
    # END SOLUTION


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of right answers: logits (B, 10), labels (B,) -> float."""
    # BEGIN SOLUTION
    return (logits.argmax(dim=1) == labels).float().mean().item()
    # END SOLUTION


# BEGIN HIDDEN TESTS
from course.exercises.attempt import Attempt  # noqa: E402

HINTS = (
    "First .float() / 255, then the mean, then the standard deviation; in integers all of it "
    "would be lost.",
    "flatten(start_dim=1) keeps the first dimension, the batch, and makes one of all others.",
    "logits.argmax(dim=1) has one class per image; == with the labels has True where it is right; "
    "its .float().mean() is the share, and .item() makes a Python float.",
)
ABOUT = ("prepare", "prepare", "accuracy")

MISTAKES = {
    "prepare": {
        "the pixels were not divided by 255 first": lambda x: ((x.float() - MEAN) / STD).flatten(1),
        "that is x - MEAN / STD; put x - MEAN in parentheses": lambda x: (
            x.float() / 255 - MEAN / STD
        ).flatten(1),
        "these are pixels from 0 to 1; mean and standard deviation are missing": lambda x: (
            x.float() / 255
        ).flatten(1),
    },
    "accuracy": {
        "that is the number of right answers; divide by how many there are": lambda x, y: float(
            (x.argmax(1) == y).sum()
        ),
        "that is in percent; a share is from 0 to 1": lambda x, y: (
            100 * (x.argmax(1) == y).float().mean().item()
        ),
    },
}


def check(mine: Attempt) -> None:
    for size in (2, 5):
        mine.same("prepare", torch.randint(0, 256, (size, 28, 28), dtype=torch.uint8))
    for size in (10, 8, 13):
        logits, labels = torch.randn(size, 10), torch.randint(0, 10, (size,))
        logits[torch.arange(size // 2), labels[: size // 2]] += 9  # half of them right
        mine.same("accuracy", logits, labels)


# END HIDDEN TESTS
