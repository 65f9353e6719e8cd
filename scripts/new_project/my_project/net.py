"""The net: torch alone, one tensor in, one tensor out."""

import torch.nn.functional as F
from torch import Tensor, nn


class Net(nn.Module):
    """Two convolutions that halve the image, and a linear layer.

    Args:
        width: output channels of the first convolution; the second has twice as many.
        num_classes: number of logits.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, kernel_size=5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(width, 2 * width, kernel_size=3, stride=2, padding=1)
        self.fc = nn.Linear(2 * width * 7 * 7, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, 1, 28, 28)."""
        x = F.relu(self.conv1(x))  # (B, width, 14, 14)
        x = F.relu(self.conv2(x))  # (B, 2 * width, 7, 7)
        return self.fc(x.flatten(1))
