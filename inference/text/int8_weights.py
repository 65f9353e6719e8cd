"""Matrices in 8 bits: int8, with one scale per row. What is computed with them is not rounded."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def quantized(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 (N, K) and scales (N,), float32, of a matrix; each row's largest number becomes 127.

    Of the weights of an ``int8`` file, which were rounded so before, it makes the same.
    """
    weight = weight.float()
    scale = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
    return (weight / scale[:, None]).round().to(torch.int8), scale


class Int8Linear:
    """A linear layer with weights in int8.

    Attributes:
        weight: int8 (N, K).
        scale: of the rows, float32 (N,).
        bias: (N,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, device: torch.device) -> None:
        self.weight, self.scale = (tensor.to(device) for tensor in quantized(weight))
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.in_type(x.dtype), self.bias)

    def in_type(self, dtype: torch.dtype) -> Tensor:
        """The weights as numbers of another type."""
        return (self.weight * self.scale[:, None]).to(dtype)


class Int8Embedding:
    """Vectors of tokens in int8, with one scale each; those of a tied output layer.

    Args:
        layer: the output layer, of which these are the first rows.
        dtype: of the vectors that it looks up.
    """

    def __init__(self, layer: Int8Linear, vocab_size: int, dtype: torch.dtype) -> None:
        self.weight, self.scale = layer.weight[:vocab_size], layer.scale[:vocab_size]
        self._dtype = dtype

    def __call__(self, ids: Tensor) -> Tensor:
        return (self.weight[ids] * self.scale[ids][..., None]).to(self._dtype)


def quantize_net(net: Any, weights: Mapping[str, Tensor], device: torch.device) -> None:
    """Replaces the linear layers of a net's blocks by ones in int8.

    Args:
        net: of a ``CachedGPT``.
        weights: its state dict, not yet rounded to another type.
        device: where the int8 weights go.
    """
    for index, block in enumerate(net.blocks):
        for owner, path in ((block.attn, "attn."), (block, "")):
            for name in ("qkv", "out") if path else ("up", "down"):
                weight = weights[f"blocks.{index}.{path}{name}.weight"]
                vars(owner)[name] = Int8Linear(weight, vars(owner)[name].bias, device)
