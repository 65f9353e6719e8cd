"""A convolutional net whose every layer is worth its launches."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FastCNN(nn.Module):
    """Two convolutions without padding and two linear layers for 28 x 28 images.

    Wider and shallower in resolution than :class:`CNN`: a GPU does the extra arithmetic in the
    time that it would otherwise wait. The shape is that of the fastest public script for MNIST,
    https://github.com/tuomaso/train_mnist_fast.

    Args:
        channels: output channels of the 5 x 5 and of the 3 x 3 convolution.
        hidden: width of the first linear layer.
        num_classes: number of logits. The defaults have 215,194 parameters.
        conv_bias: biases in the convolutions, 56 of these.
        strided: the first convolution moves by two pixels, where otherwise a pooling keeps the
            largest of 2 x 2: a fifth of its arithmetic, and the weights have the same shapes.
    """

    def __init__(
        self,
        channels: tuple[int, int] = (24, 32),
        hidden: int = 256,
        num_classes: int = 10,
        conv_bias: bool = True,
        strided: bool = False,
    ) -> None:
        super().__init__()
        first, second = channels
        self.strided = strided
        self.conv1 = nn.Conv2d(1, first, 5, stride=2 if strided else 1, bias=conv_bias)
        self.conv2 = nn.Conv2d(first, second, kernel_size=3, bias=conv_bias)
        self.fc1 = nn.Linear(second * 5 * 5, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, 1, 28, 28)."""
        x = self.conv1(x)
        x = F.relu(x if self.strided else F.max_pool2d(x, 2))  # (B, 24, 12, 12)
        x = F.relu(F.max_pool2d(self.conv2(x), 2))  # (B, 32, 5, 5)
        x = F.relu(self.fc1(torch.flatten(x, 1)))  # (B, 256)
        return self.fc2(x)
