"""A small convolutional net for 28 x 28 images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CNN(nn.Module):
    """Two 3 x 3 convolutions with max pooling, then two linear layers.

    Args:
        channels: output channels of the two convolutions.
        hidden: width of the first linear layer.
        num_classes: number of logits. The defaults have 52,138 parameters.
        normalize: a layer that the images go through first, such as a
            :class:`~lightning_modules.nets.moments.MomentNormalization`.
    """

    def __init__(
        self,
        channels: Sequence[int] = (8, 16),
        hidden: int = 64,
        num_classes: int = 10,
        normalize: nn.Module | None = None,
    ) -> None:
        super().__init__()
        first, second = channels
        self.normalize = normalize
        self.conv1 = nn.Conv2d(1, first, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(first, second, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(second * 7 * 7, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, 1, 28, 28)."""
        if self.normalize is not None:
            x = self.normalize(x)
        x = self._halve(self.conv1(x))  # (B, 8, 14, 14)
        x = self._halve(self.conv2(x))  # (B, 16, 7, 7)
        x = F.relu(self.fc1(torch.flatten(x, 1)))  # (B, 64)
        return self.fc2(x)

    def _halve(self, x: Tensor) -> Tensor:
        """ReLU and 2 x 2 max pooling, which give the same in either order, in the faster one."""
        if self.training:
            return F.relu(F.max_pool2d(x, 2))  # a quarter of the values to rectify, and back
        return F.max_pool2d(F.relu(x), 2)  # a runtime makes the ReLU part of the convolution
