"""A multi-layer perceptron."""

import itertools
from collections.abc import Sequence

from torch import nn


class MLP(nn.Sequential):
    """Linear layers with ReLU between them; the input is flattened first.

    Maps inputs whose dimensions after the first multiply to ``sizes[0]`` to logits (B, sizes[-1]).
    The forward is ``nn.Sequential``'s own: TorchScript cannot compile a call of ``super()``.

    Args:
        sizes: widths from input to output: ``[784, 128, 64, 10]`` has 109,386 parameters.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        super().__init__(*layers[:-1])
