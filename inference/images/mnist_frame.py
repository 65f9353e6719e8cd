"""MNIST's frame around the digit of an image: its box, and its center of mass in the middle."""

import numpy as np
from PIL import Image

from inference.images.page import box, digit_ink, edge
from inference.images.pieces import FAINTEST

BOX = 20 / 28  # longest side of a digit, as a share of the frame's
_STROKE = 2.6 / 20  # of the longest side: thinner strokes are not what MNIST's readers have seen
_SHORT = 5 / 28  # what the scans of scikit-learn's digits may lack of the box
_INK = 0.4  # from this share of the strongest ink on, a pixel counts for the width of a stroke


def frame(
    gray: np.ndarray, side: int, invert: bool | None, by_mass: bool = True
) -> tuple[np.ndarray, bool]:
    """The digit of an image (H, W) in [0, 1], as :func:`~.preprocessing.to_mnist` returns it.

    Raises:
        ValueError: the image is empty, or shows several digits.
    """
    if float(np.ptp(gray)) < FAINTEST:
        raise ValueError("the picture is empty: it has one tone only")
    if gray.shape == (side, side) and invert is None:
        inverted = float(np.median(edge(gray))) > (float(gray.min()) + float(gray.max())) / 2
        if (framed := _framed_already(gray, inverted, by_mass)) is not None:
            return framed, inverted
    ink, inverted = digit_ink(gray, invert)
    return _framed(_thickened(ink), side, by_mass), inverted


def _framed_already(gray: np.ndarray, inverted: bool, by_mass: bool) -> np.ndarray | None:
    """The image, light on dark, if all that is not its ground lies as MNIST's digits lie.

    These fill the box and have their center of mass in the middle; of 70,000 there are 19 that are
    a pixel off, and are put right. By the box, a digit lies within it and nearly fills it.
    """
    ground = float(np.median(edge(gray)))
    given = np.clip(ground - gray if inverted else gray - ground, 0, 1).astype(np.float32)
    ink = given / given.max()
    rows, columns = box(ink > 0)
    digit = ink[rows, columns]
    short = round(BOX * len(ink)) - max(digit.shape)
    if not by_mass:
        margin = (len(ink) - round(BOX * len(ink))) // 2
        within = min(rows.start, columns.start) >= margin
        within &= max(rows.stop, columns.stop) <= len(ink) - margin
        return given if within and short <= _SHORT * len(ink) else None
    if short not in (0, 1):
        return None
    top, left = _place(digit, len(ink), by_mass)
    off = max(abs(top - rows.start), abs(left - columns.start))
    return _framed(digit, len(ink), by_mass) if off <= 1 else None


def _thickened(ink: np.ndarray) -> np.ndarray:
    """A digit (h, w) whose strokes are at least as wide as a pen's of MNIST's writers.

    A pencil or a fine pen on a large page would leave gray lines of less than a pixel. The width
    is twice the area over the pixels at the outline; less than a pixel on either side is left.
    """
    mask = np.pad(ink > _INK, 1)
    core = mask[1:-1, 1:-1].copy()
    for beside in (mask[:-2, 1:-1], mask[2:, 1:-1], mask[1:-1, :-2], mask[1:-1, 2:]):
        core &= beside
    area = int(mask.sum())
    width = 2 * area / max(1, area - int(core.sum()))
    reach = (_STROKE * max(ink.shape) - width) / 2
    return dilated(ink, round(reach)) if reach >= 1 else ink


def dilated(ink: np.ndarray, reach: int) -> np.ndarray:
    """Gray dilation by a disc: (h, w) becomes (h + 2 reach, w + 2 reach)."""
    height, width = ink.shape
    found = np.zeros((height + 2 * reach, width + 2 * reach), ink.dtype)
    rows = np.zeros((height, width + 2 * reach), ink.dtype)  # each pixel's row of the disc
    for across in range(reach + 1):
        for left in (reach - across, reach + across):
            part = rows[:, left : left + width]
            np.maximum(part, ink, out=part)
        # The rows of the disc that reach so far and no farther.
        for down in range(reach + 1):
            if int((reach**2 - down**2) ** 0.5) == across:
                for top in (reach - down, reach + down):
                    part = found[top : top + height]
                    np.maximum(part, rows, out=part)
    return found


def _framed(ink: np.ndarray, side: int, by_mass: bool) -> np.ndarray:
    """A digit cut to its box, scaled to fit MNIST's, with one of its centers in the middle."""
    digit = Image.fromarray(ink)
    scale = round(BOX * side) / max(digit.size)
    size = (max(1, round(digit.width * scale)), max(1, round(digit.height * scale)))
    if size != digit.size:
        digit = digit.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(digit)
    pixels = np.clip(pixels / min(1, pixels.max()), 0, 1)  # the strongest ink is white
    y, x = _place(pixels, side, by_mass)
    framed = np.zeros((side, side), dtype=np.float32)
    framed[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return framed


def _place(pixels: np.ndarray, side: int, by_mass: bool) -> tuple[int, int]:
    """Top and left of a digit (h, w) whose center of mass, or whose box, is in the middle."""
    height, width = pixels.shape
    if not by_mass:
        return (side - height) // 2, (side - width) // 2
    weight = pixels.sum()
    middle = side / 2  # where MNIST has it: 14.0 counted from pixel 0, on average over the set
    y = round(middle - float((pixels.sum(1) * np.arange(height)).sum() / weight))
    x = round(middle - float((pixels.sum(0) * np.arange(width)).sum() / weight))
    return min(max(y, 0), side - height), min(max(x, 0), side - width)
