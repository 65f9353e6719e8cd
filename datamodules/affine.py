"""Random affine maps of image batches, on the device the images are on."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def random_maps(images: Tensor, degrees: float, shift: float, zoom: float) -> Tensor:
    """Where each place of an image is taken from, in the coordinates of ``affine_grid``.

    Uniformly drawn from torch's global generator of the device, without a value ever read back, so
    that a CUDA graph can hold it.

    Args:
        images: (B, C, H, W).
        degrees: largest rotation either way.
        shift: largest shift along each axis, in pixels.
        zoom: largest relative change of size: 0.1 means 0.9 to 1.1.

    Returns:
        (B, 2, 3), a rotation with a change of size and a shift for each image.
    """
    batch, _, height, width = images.shape
    angle, size, right, down = torch.rand(4, batch, device=images.device).mul(2).sub(1)  # (B,) each
    angle = angle * math.radians(degrees)
    size = 1 / (1 + size * zoom)
    right, down = right * (2 * shift / width), down * (2 * shift / height)
    cos, sin = angle.cos() * size, angle.sin() * size
    return torch.stack([cos, -sin, right, sin, cos, down], dim=1).view(batch, 2, 3)


def random_affine(
    images: Tensor, degrees: float, shift: float, zoom: float, background: float | Tensor
) -> Tensor:
    """Rotates, shifts and scales each image by its own random amounts, see :func:`random_maps`.

    One grid and one ``grid_sample`` a batch.

    Args:
        images: (B, C, H, W).
        degrees: largest rotation either way.
        shift: largest shift along each axis, in pixels.
        zoom: largest relative change of size.
        background: value of what comes in from outside; (C, 1, 1) for one per channel.
    """
    maps = random_maps(images, degrees, shift, zoom)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)  # (B, H, W, 2)
    moved = F.grid_sample(images - background, grid.to(images.dtype), align_corners=False)
    return moved + background
