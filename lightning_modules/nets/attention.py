"""Attention of one head, written out."""

import math

import torch
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Every position takes a weighted mean of the values of all positions.

    What :func:`torch.nn.functional.scaled_dot_product_attention` computes, in three lines that
    can be read; there is no output projection, as in the course.

    Source: A. Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762.

    Args:
        dim: width of a position, in and out.
    """

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)

    def weights(self, x: Tensor) -> Tensor:
        """How much each position (row) takes from each other: (B, T, dim) -> (B, T, T)."""
        scores = self.query(x) @ self.key(x).transpose(-2, -1)  # (B, T, T)
        return torch.softmax(scores / math.sqrt(x.shape[-1]), dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, dim) -> (B, T, dim)."""
        return self.weights(x) @ self.value(x)
