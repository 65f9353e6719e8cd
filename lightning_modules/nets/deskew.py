"""Digits put upright: a layer without parameters."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Deskew(nn.Module):
    """Moves each image's centre of mass to the middle and shears its slant away.

    Mass is what lies above the darkest pixel. The slant is that of the line through the mass, from
    its second moments. What follows need not learn that a digit leans or lies elsewhere.

    Source: Y. LeCun et al., Gradient-based learning applied to document recognition, 1998, whose
    figures for many methods are for images deskewed in this way.

    Args:
        side: height and width of the images in pixels.
    """

    across: Tensor
    down: Tensor

    def __init__(self, side: int = 28) -> None:
        super().__init__()
        places = (2 * torch.arange(side) + 1) / side - 1  # as grid_sample numbers them, -1 to 1
        down, across = torch.meshgrid(places, places, indexing="ij")
        self.register_buffer("across", across, persistent=False)
        self.register_buffer("down", down, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Upright images of images, both (B, 1, side, side)."""
        background = x.amin(dim=(2, 3), keepdim=True)
        ink = x - background
        # An image without any has no middle; it stays as it is.
        mass = ink.float() / ink.float().sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
        right = (mass * self.across).sum(dim=(1, 2, 3))[:, None, None]  # (B, 1, 1)
        low = (mass * self.down).sum(dim=(1, 2, 3))[:, None, None]
        height = (mass[:, 0] * (self.down - low) ** 2).sum(dim=(1, 2))
        along = (mass[:, 0] * (self.down - low) * (self.across - right)).sum(dim=(1, 2))
        slant = (along / height.clamp(min=1e-6))[:, None, None]
        grid = torch.stack([self.across + slant * self.down + right, self.down + low], dim=-1)
        return F.grid_sample(ink, grid.to(x.dtype), align_corners=False) + background
