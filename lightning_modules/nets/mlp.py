"""A multi-layer perceptron (MLP)."""

import itertools
from collections.abc import Sequence

from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "none": nn.Identity,
}


class MLP(nn.Sequential):
    """Linear layers with an activation between them; the input is flattened first.

    Maps inputs whose dimensions after the first multiply to ``sizes[0]`` to logits (B, sizes[-1]).
    The forward is ``nn.Sequential``'s own: TorchScript cannot compile a call of ``super()``.

    Args:
        sizes: widths from input to output: ``[784, 128, 64, 10]`` has 109,386 parameters.
        activation: ``relu``, ``sigmoid``, ``tanh`` or ``none``.
        dropout: probability with which a hidden value is set to zero in training.

    Raises:
        ValueError: another activation, a width below 1, or a probability outside 0 to 1.
    """

    def __init__(
        self, sizes: Sequence[int], activation: str = "relu", dropout: float = 0.0
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}"
            )
        if min(sizes) < 1:
            raise ValueError(f"the width of a layer must be at least 1, got {min(sizes)}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}")
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in itertools.pairwise(sizes[:-1]):
            layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
            if dropout:
                layers.append(nn.Dropout(dropout))
        super().__init__(*layers, nn.Linear(sizes[-2], sizes[-1]))
