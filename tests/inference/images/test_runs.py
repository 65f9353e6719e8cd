"""Pieces and openings are those of scipy.ndimage, which the reader does without."""

import numpy as np
import pytest
from scipy import ndimage

from inference.images.runs import Runs, opened


@pytest.fixture(params=range(40))
def mask(request: pytest.FixtureRequest) -> np.ndarray:
    rng = np.random.default_rng(request.param)
    return rng.random(rng.integers(1, 40, 2)) < rng.choice([0.02, 0.2, 0.4, 0.6, 0.98])


def test_pieces_are_connected_corners_included(mask: np.ndarray) -> None:
    runs = Runs.of(mask)
    piece_of, count = runs.pieces()
    labels, expected = ndimage.label(mask, np.ones((3, 3)))
    assert count == expected
    found = np.zeros(mask.shape, int)
    for row, start, stop, piece in zip(runs.row, runs.start, runs.stop, piece_of, strict=True):
        found[row, start:stop] = piece + 1
    assert len({*zip(found[mask].tolist(), labels[mask].tolist(), strict=True)}) == count
    np.testing.assert_array_equal(runs.mask(np.ones(len(runs.row), bool)), mask)


def test_a_spiral_is_one_piece() -> None:
    """The worst case for labels that spread from neighbor to neighbor."""
    side = 61
    spiral = np.zeros((side, side), bool)
    for ring in range(0, side // 2, 2):
        spiral[ring, ring : side - ring] = True
        spiral[ring : side - ring, side - ring - 1] = True
        spiral[side - ring - 1, ring : side - ring] = True
        spiral[ring + 2 : side - ring, ring] = True
        spiral[ring + 2, ring : ring + 3] = True
    assert Runs.of(spiral).pieces()[1] == ndimage.label(spiral, np.ones((3, 3)))[1] == 1


def test_openings_by_a_line(mask: np.ndarray) -> None:
    for length in (1, 2, 5):
        line = np.ones((1, length), bool)
        np.testing.assert_array_equal(opened(mask, length), ndimage.binary_opening(mask, line))


def test_sums_are_over_each_run(mask: np.ndarray) -> None:
    values = np.random.default_rng(0).normal(size=mask.shape)
    runs = Runs.of(mask)
    expected = [
        values[row, start:stop].sum()
        for row, start, stop in zip(runs.row, runs.start, runs.stop, strict=True)
    ]
    np.testing.assert_allclose(runs.sums(values), expected, atol=1e-9)
