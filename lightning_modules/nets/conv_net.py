"""A convolutional net for images of any size."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNet(nn.Module):
    """Residual stages, each at half the resolution of the one before, and one linear layer.

    A stage is two 3 x 3 convolutions, the second one residual, each with batch normalization and
    ReLU, then 2 x 2 max pooling. The mean over what is left of height and width goes into the
    linear layer, so that one net takes every size from 2 ** len(widths) * stride pixels on. With a
    ``stride`` above 1 a strided convolution comes first, so that large images cost no more than
    small ones.

    Source: K. He et al., Deep residual learning for image recognition, 2016.

    Args:
        in_channels: of the images.
        widths: channels of the stages.
        num_classes: number of logits.
        stride: of the convolution before the stages, 1 for none.
    """

    def __init__(
        self,
        in_channels: int = 3,
        widths: Sequence[int] = (16, 32, 64),
        num_classes: int = 10,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.stem = nn.Identity() if stride == 1 else stem(in_channels, widths[0], stride)
        sizes = [in_channels if stride == 1 else widths[0], *widths]
        self.stages = nn.Sequential(*(Stage(before, after) for before, after in pairwise(sizes)))
        self.head = nn.Linear(sizes[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, in_channels, H, W)."""
        return self.head(torch.mean(self.stages(self.stem(x)), dim=(2, 3)))


class Stage(nn.Module):
    """Maps (B, before, H, W) to (B, after, H // 2, W // 2)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.widen = convolution(before, after)
        self.refine = convolution(after, after)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.widen(x))
        x = F.relu(x + self.refine(x))
        return F.max_pool2d(x, 2)


def stem(before: int, after: int, stride: int) -> nn.Sequential:
    """One convolution to an image ``stride`` times smaller, with batch normalization and ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, 2 * stride + 1, stride, padding=stride, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


def convolution(before: int, after: int) -> nn.Sequential:
    """3 x 3 with batch normalization, whose bias takes the place of the convolution's."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(after)
    )
