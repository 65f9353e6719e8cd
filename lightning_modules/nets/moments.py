"""Digits brought to one pose: a layer without parameters."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MomentNormalization(nn.Module):
    """Puts each image's mass in the middle and upright, as wide as a round digit is, or nearly.

    Mass is what lies above an image's darkest pixel. Its mean says where the digit is, its second
    moments how it leans (the slant of the line through the mass) and how narrow it is. What follows
    need not learn any of that. In training the upright digits are moved about a little at random,
    in the same interpolation, so that their images are as sharp as those of a test.

    Whatever is in the image counts: a mark beside the digit or an uneven ground moves the pose, and
    a net behind this layer suffers more from them than one without.
    ``inference/images/preprocessing.py`` takes both out of images.

    Source: C.-L. Liu et al., Handwritten digit recognition: investigation of normalization and
    feature extraction techniques, 2004; the slant alone is in Y. LeCun et al., Gradient-based
    learning applied to document recognition, 1998.

    Args:
        side: height and width of the images in pixels.
        scale: how much larger digits become; MNIST's leave a margin of 4 of 28 pixels.
        widen: how far widths go towards that of a round digit, 0 to 1.
        jitter: random maps (B, 2, 3) for images (B, 1, side, side), as ``affine_grid`` takes
            them, by which the upright digits are moved in training, before they become larger.
        warp: standard deviation of a random smooth displacement in training, in pixels of a digit
            before it becomes larger.

    Raises:
        ValueError: a value out of its range.
    """

    across: Tensor
    down: Tensor
    powers: Tensor

    def __init__(
        self,
        side: int = 28,
        scale: float = 1.2,
        widen: float = 0.5,
        jitter: Callable[[Tensor], Tensor] | None = None,
        warp: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError(f"scale must be above 0, got {scale}")
        if not 0 <= widen <= 1:
            raise ValueError(f"widen must be from 0 to 1, got {widen}")
        self.widen = widen
        self.jitter = jitter
        self.warp = warp
        places = (2 * torch.arange(side) + 1) / side - 1  # as grid_sample numbers them, -1 to 1
        down, across = torch.meshgrid(places, places, indexing="ij")
        powers = [torch.ones_like(down), across, down, across**2, across * down, down**2]
        self.register_buffer("powers", torch.stack(powers), persistent=False)  # (6, side, side)
        # In the checkpoint, so that a net without this layer refuses weights that need it.
        self.register_buffer("across", across / scale)
        self.register_buffer("down", down / scale)
        corners = torch.eye(25).view(25, 1, 5, 5)
        smooth = F.interpolate(corners, size=side, mode="bicubic", align_corners=True)
        self._smooth = smooth.flatten(1)  # (25, side * side); no buffer, or exports would carry it

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 1, side, side) of images of that shape."""
        background = x.amin(dim=(2, 3), keepdim=True)
        ink = x - background
        middle, low, slant, width = self._pose(ink.float())
        across, down = self.across, self.down
        if self.training:
            across, down = self._moved(x)
        # Where the upright digit's places are in the image.
        grid = torch.stack([width * across + slant * down + middle, down + low], dim=-1)
        return F.grid_sample(ink, grid.to(x.dtype), align_corners=False) + background

    def _pose(self, ink: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Middle, height of the middle, slant and relative width of each digit, (B, 1, 1) each."""
        sums = (ink * self.powers).sum(dim=(2, 3))[..., None, None]  # (B, 6, 1, 1)
        # An image without any ink has no pose; whatever is found for it, it stays empty.
        _, middle, low, xx, xy, yy = (sums / sums[:, :1].clamp(min=1e-6)).unbind(1)
        tall = (yy - low**2).clamp(min=1e-3)  # that of a line one and a half pixels thick
        slant = (xy - middle * low) / tall
        wide = xx - middle**2 - slant**2 * tall  # what is left of the width once upright
        # 0.55 is about that of a 0. Lines count as a fifth as wide as that, or five times.
        relative = (wide / tall / 0.55).clamp(0.04, 25.0)
        return middle, low, slant, relative ** (self.widen / 2)

    @torch.jit.unused
    def _moved(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Places across and down, moved at random for each image, (B, side, side), if at all."""
        across, down = self.across, self.down
        if self.jitter is not None:
            rows = self.jitter(x)[..., None, None].unbind(1)  # two of (B, 3, 1, 1)
            across, down = (
                row[:, 0] * self.across + row[:, 1] * self.down + row[:, 2] for row in rows
            )
        if self.warp:
            # Bicubic interpolation of 5 x 5 displacements, as one matrix product.
            side = x.shape[-1]
            self._smooth = self._smooth.to(across)
            corners = torch.randn(len(x), 2, 25, dtype=across.dtype, device=across.device)
            corners = corners * (2 * self.warp / side)
            moved = (corners @ self._smooth).view(-1, 2, side, side)
            across, down = across + moved[:, 0], down + moved[:, 1]
        return across, down
