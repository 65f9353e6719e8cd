"""Exercise for step 17, pipelines: from an image to a label.

A net wants a batch: (B, 1, 28, 28), normalized as in training. In use it is in
eval mode, so that no dropout draws, and under ``torch.no_grad()``, so that
nothing is recorded for a backward pass. ``softmax`` makes probabilities of its
logits.

Write both functions, then: gpu-learning lessons check 17
"""

import torch
from torch import Tensor, nn

MEAN, STD = 0.1307, 0.3081


def to_batch(image: Tensor) -> Tensor:
    """A normalized batch of one: uint8 (28, 28) -> float32 (1, 1, 28, 28)."""
    # BEGIN SOLUTION
    pixels = image.float() / 255
    return ((pixels - MEAN) / STD)[None, None]
    # END SOLUTION


def predict(
    net: nn.Module,
    image: Tensor,
    labels: list[str],
) -> tuple[str, float]:
    """The most probable label of an image, and its probability."""
    # BEGIN SOLUTION
    net.eval()
    with torch.no_grad():
        probabilities = net(to_batch(image)).softmax(dim=1)[0]
    best = int(probabilities.argmax())
    return labels[best], probabilities[best].item()
    # END SOLUTION


# BEGIN HIDDEN TESTS
from course.exercises.attempt import Attempt  # noqa: E402
from course.exercises.compare import Wrong  # noqa: E402

HINTS = (
    "Normalize as in step 10; image[None, None] adds the dimensions of batch and channel.",
    "net.eval(), then: with torch.no_grad(): logits = net(to_batch(image)).",
    "logits.softmax(dim=1)[0] are the probabilities of the one image; argmax() is the position of "
    "the best, and .item() makes a Python number of a tensor.",
)
ABOUT = ("to_batch", "predict", "predict")


def _logit(net: nn.Module, image: Tensor, labels: list[str]) -> tuple[str, float]:
    best = net.eval()(to_batch(image)).max(dim=1)
    return labels[int(best.indices)], best.values.item()


def _over_the_batch(net: nn.Module, image: Tensor, labels: list[str]) -> tuple[str, float]:
    return labels[0], 1.0


MISTAKES = {
    "to_batch": {
        "the pixels were not divided by 255 first": lambda x: ((x.float() - MEAN) / STD)[
            None, None
        ],
        "mean and standard deviation are missing": lambda x: (x.float() / 255)[None, None],
    },
    "predict": {
        "that is the logit; softmax makes a probability of it": _logit,
        "the softmax is over the batch; take it over the classes, dim=1": _over_the_batch,
    },
}


def check(mine: Attempt) -> None:
    labels = [f"digit {number}" for number in range(10)]
    for _ in range(4):
        image = torch.randint(0, 256, (28, 28), dtype=torch.uint8)
        mine.same("to_batch", image)
        layers = (nn.Linear(784, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10))
        net = nn.Sequential(nn.Flatten(), *layers)
        watched = _Watched(net.train())
        mine.call("predict", watched, image, labels)
        if watched.trained:
            raise Wrong("predict runs the net in training mode, with dropout; call net.eval()")
        if watched.recorded:
            raise Wrong("predict records a backward pass; run the net under torch.no_grad()")
        mine.same("predict", net, image, labels)


class _Watched(nn.Module):
    """A net that remembers how it was run."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.trained, self.recorded = net, False, False

    def forward(self, x: Tensor) -> Tensor:
        self.trained |= self.training
        logits = self.net(x)
        self.recorded |= logits.requires_grad
        return logits


# END HIDDEN TESTS
