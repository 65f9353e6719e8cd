"""What a linear layer of a decode step is computed from."""

from typing import Any, NamedTuple

from torch import Tensor


class Input(NamedTuple):
    """Input of a linear layer: x as it is, or what becomes of it first.

    Attributes:
        x: (slots, K).
        norm: the LayerNorm of x.
        parts: x is attention to so many parts of the cache, to be combined; 0: it is whole.
        sums: added to x before its norm: parts (n, slots, K) of a linear layer's output.
        bias: of that layer.
    """

    x: Tensor
    norm: Any = None
    parts: int = 0
    sums: Tensor | None = None
    bias: Tensor | None = None


class Layer(NamedTuple):
    """Weight and bias of the output layer."""

    weight: Tensor
    bias: Tensor | None
