"""Exercise for step 12, convolutions: what they compute, and its size.

A convolution slides a small filter over the image. At every position the
filter's numbers are multiplied with the pixels below them and summed. With
``padding`` zeros are put around the image; with ``stride`` the filter moves by
more than one pixel. Along one side there are (size + 2 padding - kernel) /
stride + 1 positions, rounded down.

Write the three functions, then: gpu-learning lessons check 12
"""

import torch
from torch import Tensor, nn


def output_size(
    size: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
) -> int:
    """How many positions a filter has along a side of ``size`` pixels."""
    # BEGIN SOLUTION
    return (size + 2 * padding - kernel) // stride + 1
    # END SOLUTION


def convolve(image: Tensor, kernel: Tensor) -> Tensor:
    """One filter on one image: (H, W), (k, k) -> (H - k + 1, W - k + 1)."""
    # BEGIN SOLUTION
    size = kernel.shape[0]
    rows = []
    for top in range(image.shape[0] - size + 1):
        row = []
        for left in range(image.shape[1] - size + 1):
            patch = image[top : top + size, left : left + size]
            row.append((patch * kernel).sum())
        rows.append(torch.stack(row))
    return torch.stack(rows)
    # END SOLUTION


def features() -> nn.Sequential:
    """The first half of the course's CNN, of six layers: (B, 1, 28, 28) -> (B,
    16, 7, 7).

    Twice: a convolution with a kernel of 3 and a padding of 1, a ReLU, a max
    pooling that halves the sides. The first convolution makes 8 channels of 1,
    the second 16 of 8.
    """
    # BEGIN SOLUTION
    return nn.Sequential(
        nn.Conv2d(1, 8, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch.nn.functional as F  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from lightning_modules.nets import CNN  # noqa: E402

HINTS = (
    "// divides and rounds down; + 1 comes after the division.",
    "Two loops over the positions: image[top : top + k, left : left + k] is the patch below the "
    "filter; (patch * kernel).sum() is one number of the result.",
    "nn.Conv2d(channels in, channels out, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2), "
    "and the same again, in one nn.Sequential.",
)
ABOUT = ("output_size", "convolve", "features")

MISTAKES = {
    "output_size": {
        "the padding is on both sides: 2 * padding": lambda size, kernel, stride, padding: (
            (size + padding - kernel) // stride + 1
        ),
        "the first position counts, too: + 1 after the division": (
            lambda size, kernel, stride, padding: (size + 2 * padding - kernel) // stride
        ),
        "round down, to an int, with //": lambda size, kernel, stride, padding: (
            (size + 2 * padding - kernel) / stride + 1
        ),
    },
    "convolve": {
        "the filter is turned by 180 degrees; torch's convolutions do not turn it": (
            lambda image, kernel: _convolution(image, kernel.flip(0, 1))
        ),
        "that is the mean of the products; sum them": lambda image, kernel: (
            _convolution(image, kernel) / kernel.numel()
        ),
    },
}


def _convolution(image: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(image[None, None], kernel[None, None])[0, 0]


def check(mine: Attempt) -> None:
    for sizes in ((28, 3, 1, 0), (28, 3, 1, 1), (28, 2, 2, 0), (7, 3, 2, 1)):
        mine.same("output_size", *sizes)
    for height, width, size in ((5, 5, 3), (6, 4, 2)):
        mine.same(
            "convolve", torch.randn(height, width), torch.randn(size, size), expected=_convolution
        )
    theirs, ours, net = mine.call("features"), features(), CNN()
    ours[0].load_state_dict(net.conv1.state_dict())
    ours[3].load_state_dict(net.conv2.state_dict())
    mine.take_weights(theirs, ours, "features()")
    images = torch.randn(2, 1, 28, 28)
    halves = F.max_pool2d(net.conv1(images).relu(), 2)
    want = F.max_pool2d(net.conv2(halves).relu(), 2)
    shown = "features()(tensor (2, 1, 28, 28))"
    no_relu = F.max_pool2d(net.conv2(F.max_pool2d(net.conv1(images), 2)), 2)
    mistakes = {"there is no ReLU after the convolutions": no_relu}
    mine.equal(mine.call(theirs, images, shown=shown), want, shown, mistakes)


# END HIDDEN TESTS
