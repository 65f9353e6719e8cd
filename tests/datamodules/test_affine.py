"""Random maps of images: within what was asked, uniformly drawn, on the images' background."""

import math

import pytest
import torch

from datamodules.affine import random_affine, random_maps

IMAGES = torch.zeros(4000, 1, 20, 28)  # only the shape is read


def reaches(values: torch.Tensor, limit: float) -> None:
    """Values are uniform from ``-limit`` to ``limit``."""
    assert values.abs().max() <= limit * (1 + 1e-5)
    assert values.abs().max() > 0.99 * limit
    assert abs(values.mean()) < 0.05 * limit
    assert values.std() == pytest.approx(limit / math.sqrt(3), rel=0.03)


def test_degrees() -> None:
    maps = random_maps(IMAGES, degrees=15, shift=0, zoom=0)
    assert not maps[:, :, 2].any()
    reaches(torch.atan2(maps[:, 1, 0], maps[:, 0, 0]).rad2deg(), 15)
    torch.testing.assert_close(maps[:, :, :2].det(), torch.ones(4000))


def test_pixels() -> None:
    maps = random_maps(IMAGES, degrees=0, shift=3, zoom=0)
    assert torch.equal(maps[:, :, :2], torch.eye(2).expand(4000, 2, 2))
    # Coordinates of affine_grid go from -1 to 1, whatever the size.
    reaches(maps[:, 0, 2] * 28 / 2, 3)
    reaches(maps[:, 1, 2] * 20 / 2, 3)


def test_sizes() -> None:
    maps = random_maps(IMAGES, degrees=0, shift=0, zoom=0.2)
    assert torch.equal(maps[:, 0, 0], maps[:, 1, 1])
    reaches(1 / maps[:, 0, 0] - 1, 0.2)


def test_each_image_moves_by_its_own_amounts() -> None:
    maps = random_maps(IMAGES[:50], degrees=10, shift=2, zoom=0.1)
    assert len(torch.unique(maps, dim=0)) == 50


def test_what_comes_in_from_outside_is_background() -> None:
    background = -0.42
    empty = torch.full((8, 1, 28, 28), background)
    moved = random_affine(empty, 45, 10, 0.3, background)
    torch.testing.assert_close(moved, empty)
    image = empty.clone()
    image[:, :, 13:15, 13:15] = 2.8
    still = random_affine(image, 0, 0, 0, background)
    torch.testing.assert_close(still, image, atol=1e-5, rtol=0)
    moved = random_affine(image, 45, 5, 0, background)
    assert not torch.allclose(moved, image, atol=0.1)
    mass = (moved - background).sum(dim=(1, 2, 3))
    torch.testing.assert_close(mass, torch.full((8,), 4 * (2.8 - background)), rtol=0.2, atol=0)
