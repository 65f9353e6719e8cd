"""The transformer block of the course, and a stack of them."""

from torch import Tensor, nn

from lightning_modules.nets.attention import SelfAttention


class TransformerBlock(nn.Module):
    """Attention, then a net for each position; each with a sum around it and a norm after it.

    Source: A. Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762: norm after the
    sum ("post-norm") and ReLU. One head without output projection: 776 parameters at the defaults.

    Args:
        dim: width of a position.
        ff: hidden width of the net for each position.
    """

    def __init__(self, dim: int = 8, ff: int = 32) -> None:
        super().__init__()
        self.attention = SelfAttention(dim)
        self.norm1 = nn.LayerNorm(dim)
        self.ff = nn.Sequential(nn.Linear(dim, ff), nn.ReLU(), nn.Linear(ff, dim))
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, dim) -> (B, T, dim)."""
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.ff(x))


class Transformer(nn.Sequential):
    """``blocks`` transformer blocks, one after the other: (B, T, dim) -> (B, T, dim)."""

    def __init__(self, blocks: int = 1, dim: int = 8, ff: int = 32) -> None:
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {blocks}")
        super().__init__(*(TransformerBlock(dim, ff) for _ in range(blocks)))
