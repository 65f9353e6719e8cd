"""The ink of the one digit on a page: a scan, a photo, a screenshot.

How much of a pixel is ink is the black top-hat of the page (J. Serra, Image Analysis and
Mathematical Morphology, 1982): the ground is what is left when everything narrower than a window is
closed, so a shadow belongs to the ground and a stroke does not. Which ink is the digit's,
:mod:`inference.images.pieces` says: first on the whole page at small size, then around what was
found there, so that noise is averaged over a share of a stroke whatever the size of the page.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageFilter

from inference.images.pieces import FAINTEST, TINY, find_digit, quantile
from inference.images.runs import Runs

_GROUND = 64  # longest side in pixels with which the ground is looked at,
_PAGE = 256  # a page is searched,
_CLOSE = 160  # and a digit is cut out, with the margin around it
_EVEN = 2 / 255  # a ground that differs by less, but where the digit is, has one tone
_WINDOW = 0.4  # of the longest side: wider than any stroke

Region = tuple[int, int, int, int]  # left, top, right, bottom, as Pillow has them


def digit_ink(gray: np.ndarray, invert: bool | None) -> tuple[np.ndarray, bool]:
    """Ink of the digit and of nothing else, (h, w), about 1 in strokes; and whether it is dark.

    Args:
        gray: (H, W) in [0, 1].
        invert: True for dark ink, False for light ink, None to look.

    Raises:
        ValueError: there is no ink of that tone, or there are several digits.
    """
    image = Image.fromarray(gray)
    small, factor = _reduced(image, _PAGE)
    tones = np.asarray(small)
    glance = np.asarray(_reduced(small, _GROUND)[0])
    around, middle = quantile(edge(glance)), quantile(glance)
    inverted = _dark_ink(glance, around, middle) if invert is None else invert
    contrast = max(around, middle) - gray.min() if inverted else gray.max() - min(around, middle)
    if contrast < FAINTEST:
        tone = "dark" if inverted else "light"
        raise ValueError(f"the picture has no {tone} ink; leave the polarity to be detected")
    page = _Page.of(image, small, factor, inverted)
    ink = page.ink(tones, (0, 0, *image.size))
    digit = find_digit(ink, whole=True)
    if factor > 1 and _longest(digit) < _CLOSE / 2:
        region = _around(digit, factor, image.size)
        close = -(-max(region[2] - region[0], region[3] - region[1]) // _CLOSE)
        ink = page.ink(np.asarray(image.reduce(close, region)), region)
        digit = find_digit(ink, whole=False)
    rows, columns = box(digit)
    # The soft edges of strokes are theirs, too.
    reach = max(1, round(0.03 * _longest(digit)))
    cut = Image.fromarray(digit[rows, columns]).convert("L")
    strokes = np.asarray(cut.filter(ImageFilter.MaxFilter(2 * reach + 1)))
    strongest = quantile(ink[digit], 0.9)
    return np.where(strokes, ink[rows, columns] / strongest, 0).astype(np.float32), inverted


def edge(gray: np.ndarray) -> np.ndarray:
    """The pixels along the four sides."""
    return np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])


def box(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of what is set."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _dark_ink(gray: np.ndarray, around: float, middle: float) -> bool:
    """Whether the ink is darker than the ground: the edge's median, and the whole image's.

    Where these differ, the edge is a border around a page, if the page fills its box and has
    something on it; or else most of the image is ink.
    """
    ground = middle
    if abs(around - middle) > float(np.ptp(gray)) / 4:
        page = _largest(np.abs(gray - middle) < np.abs(gray - around))
        filled = _without_holes(page)
        inside = np.asarray(
            Image.fromarray(filled).convert("L").filter(ImageFilter.MinFilter(3)), bool
        )
        marks = float(np.ptp(gray[inside])) if inside.any() else 0.0
        if filled.sum() < 0.85 * page[box(page)].size or marks < FAINTEST:
            ground = around
    # Of ink there is little, but nothing else is as far from the ground.
    return ground - float(gray.min()) > float(gray.max()) - ground


def _largest(mask: np.ndarray) -> np.ndarray:
    runs = Runs.of(mask)
    piece_of, count = runs.pieces()
    return runs.mask(piece_of == int(np.bincount(piece_of, runs.length, count).argmax()))


def _without_holes(mask: np.ndarray) -> np.ndarray:
    """The mask with all that it encloses."""
    runs = Runs.of(~mask)
    piece_of, _ = runs.pieces()
    height, width = runs.shape
    at_edge = (runs.row == 0) | (runs.row == height - 1) | (runs.start == 0) | (runs.stop == width)
    return ~runs.mask(np.isin(piece_of, piece_of[at_edge]))


def _plane(tones: np.ndarray, middle: float) -> np.ndarray:
    """The plane through most of the tones: least squares, without what lies far off."""
    rows, columns = np.indices(tones.shape) / max(tones.shape)
    terms = np.stack([np.ones_like(rows), rows, columns], -1).reshape(-1, 3)
    values = tones.ravel().astype(np.float64)
    near = values > 0.5 * middle
    for _ in range(5):
        some = terms[near]
        plane = terms @ np.linalg.lstsq(some.T @ some, some.T @ values[near], rcond=None)[0]
        off = np.abs(values - plane)
        near = off <= 3 * max(quantile(off), 1 / 255)
    if np.mean(off < FAINTEST / 2) < 0.6:  # no plane: the shadow has an edge
        return np.full_like(tones, middle)
    return plane.reshape(tones.shape).astype(np.float32)


def _closed(tones: np.ndarray, window: int) -> np.ndarray:
    """Gray closing by a square: what is dark and narrower than the window is gone."""
    for lightest in (np.max, np.min):
        for axis in (0, 1):
            margin = [(window // 2, window // 2) if axis == a else (0, 0) for a in (0, 1)]
            padded = np.pad(tones, margin, mode="symmetric")
            tones = lightest(sliding_window_view(padded, window, axis), axis=-1)
    return tones


@dataclass(frozen=True)
class _Page:
    """The ground of a page: one tone, or an image of it at a ``factor`` of the page's size."""

    ground: float | Image.Image
    factor: int
    inverted: bool  # dark ink, which takes a share of the light; light ink adds to it

    @classmethod
    def of(cls, image: Image.Image, small: Image.Image, factor: int, inverted: bool) -> "_Page":
        """The ground of ``image``, of which ``small`` is a ``factor`` smaller."""
        smaller, more = _reduced(small, _GROUND)
        tones = np.asarray(smaller) if inverted else 1 - np.asarray(smaller)
        if max(image.size) <= TINY:  # strokes are as wide as all there is
            return cls(quantile(edge(tones)), 1, inverted)
        middle = quantile(tones)
        off = np.abs(tones - middle)
        if quantile(off, 0.6) < _EVEN and quantile(edge(off), 0.8) < _EVEN:
            return cls(middle, 1, inverted)
        plane = _plane(tones, middle)  # a closing alone loses a shadow towards the edge
        window = 2 * round(_WINDOW / 2 * max(tones.shape)) + 1
        ground = np.ascontiguousarray(plane + _closed(tones - plane, window))
        return cls(Image.fromarray(ground), factor * more, inverted)

    def ink(self, tones: np.ndarray, region: Region) -> np.ndarray:
        """How much of each pixel of a reduced region is ink, about 0 to 1."""
        tones = tones if self.inverted else 1 - tones
        if isinstance(self.ground, float):
            ground = np.float32(self.ground)
        else:
            left, top, right, bottom = (side / self.factor for side in region)
            part = (left, top, min(right, self.ground.width), min(bottom, self.ground.height))
            size = tones.shape[1], tones.shape[0]
            ground = np.asarray(self.ground.resize(size, Image.Resampling.BILINEAR, part))
        ink = ground - tones
        if self.inverted:
            ink = ink / np.maximum(ground, max(0.25 * ground.max(), FAINTEST))
        level = quantile(ink)  # of the ground, unless most is ink
        return ink - np.float32(level if abs(level) < FAINTEST else 0)


def _longest(digit: np.ndarray) -> int:
    return max(part.stop - part.start for part in box(digit))


def _around(digit: np.ndarray, factor: int, size: tuple[int, int]) -> Region:
    """The region of the page around what was found at a ``factor`` of its size."""
    rows, columns = box(digit)
    margin = 2 + round(0.4 * _longest(digit))
    return (
        max(0, (columns.start - margin) * factor),
        max(0, (rows.start - margin) * factor),
        min(size[0], (columns.stop + margin) * factor),
        min(size[1], (rows.stop + margin) * factor),
    )


def _reduced(image: Image.Image, longest: int) -> tuple[Image.Image, int]:
    """The image reduced by a whole factor, to at most ``longest`` pixels, and that factor."""
    factor = -(-max(image.size) // longest)
    return (image.reduce(factor) if factor > 1 else image), factor
