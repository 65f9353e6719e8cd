"""Which ink on a page is the digit's.

What counts is what is surely ink, by a share of the strongest, in connected pieces that are neither
ruled lines, nor a scanner's border, nor dust.
"""

from dataclasses import dataclass

import numpy as np

from inference.images.runs import Runs, opened

FAINTEST = 16 / 255  # less contrast than that is an empty image
TINY = 40  # up to this size an image shows one digit, and neither lines nor borders
_SURE = 0.35  # of the digit's strongest ink is ink, whatever else is on the paper
_NOISE = 4  # standard deviations of the ground's tone that are not ink yet
_DUST = 0.025  # of the longest side: smaller than any digit
_SMALL = 0.2  # likewise, of a digit's surroundings
_PART = 0.03  # of the digit's ink: what is less and apart does not belong to it
_REACH = 0.3  # of the digit's size: how far away a part of it may be
_LINE = 0.012  # of the longest side: as thick as a ruled line is
_TILT = 0.04  # of its length: how much one rises or falls

Box = tuple[slice, slice]


def find_digit(ink: np.ndarray, whole: bool) -> np.ndarray:
    """Which pixels are the digit, (H, W) bool.

    Looked for among the strongest ink first and then among less, so that black dust or a border
    does not hide what was written with a pencil.

    Args:
        ink: (H, W), 0 on average where there is none.
        whole: whether that is a page; or else what is around a digit that was found on one.

    Raises:
        ValueError: there is no digit, or there are several.
    """
    strongest = float(ink.max())
    if strongest <= 0:
        raise ValueError("the picture shows no digit: it has no ink")
    deviation = 1.48 * quantile(np.abs(ink))
    ground = max(_NOISE * deviation, FAINTEST / 2)
    level = _SURE * strongest
    while level > 0:
        found = _heaviest(ink, level, whole)
        if found is not None:
            sure = max(ground, _SURE * quantile(ink[found.mask()], 0.9))
            if sure < 0.9 * level:
                found = _heaviest(ink, sure, whole) or found
            if max(ink.shape) > TINY:
                found.refuse_several()
            return found.mask()
        level = max(0.7 * level, ground) if level > ground else 0
    return ink > _SURE * strongest


def quantile(values: np.ndarray, share: float = 0.5) -> float:
    """The value that ``share`` of some 2,000 of the values, evenly chosen, are below."""
    flat = values.ravel()
    some = flat[:: 1 + flat.size // 2_003]
    rank = min(int(share * some.size), some.size - 1)
    return float(np.partition(some, rank)[rank])


@dataclass(frozen=True)
class _Piece:
    """Connected ink: its number, box, sum of ink and the most pixels along one side of the page."""

    number: int
    box: Box
    weight: float
    contact: int

    @property
    def size(self) -> tuple[int, int]:
        return self.box[0].stop - self.box[0].start, self.box[1].stop - self.box[1].start

    def gap(self, other: Box) -> int:
        """Pixels between its box and another one; negative where they overlap."""
        return max(
            max(mine.start - its.stop, its.start - mine.stop)
            for mine, its in zip(self.box, other, strict=True)
        )


@dataclass(frozen=True)
class _Found:
    """The heaviest piece, and the others that are not dust beside it."""

    runs: Runs
    piece_of: np.ndarray  # the number of each run's piece
    digit: _Piece
    parts: list[_Piece]

    def near(self) -> tuple[list[int], Box]:
        """The digit and the parts within reach of what belongs to it: their numbers and box."""
        numbers, box = [self.digit.number], self.digit.box
        for part in sorted(self.parts, key=lambda p: p.gap(self.digit.box)):
            if part.gap(box) <= _REACH * max(self.digit.size):
                numbers.append(part.number)
                box = _around(box, part.box)
        return numbers, box

    def mask(self) -> np.ndarray:
        return self.runs.mask(np.isin(self.piece_of, self.near()[0]))

    def refuse_several(self) -> None:
        """Raises ValueError for pieces side by side, each about as high as all together."""
        columns, height = self.digit.box[1], self.digit.size[0]
        for part in self.parts:
            other = part.box[1]
            both = _around(self.near()[1], part.box)[0]
            alike = min(height, part.size[0]) >= 0.6 * (both.stop - both.start)
            apart = max(columns.start - other.stop, other.start - columns.stop) >= 0.15 * height
            if alike and apart and part.weight > 0.2 * self.digit.weight:
                raise ValueError("the picture shows several digits; crop it to one of them")


def _heaviest(ink: np.ndarray, level: float, whole: bool) -> _Found | None:
    """The heaviest piece of ink above ``level`` that can be a digit."""
    mask, longest = ink > level, max(ink.shape)
    runs = Runs.of(mask)
    piece_of, pieces = _pieces(ink, runs)
    # Lines reach the edge, or most of the way; without either there are none.
    if longest > TINY and any(p.contact or max(p.size) > 0.75 * min(ink.shape) for p in pieces):
        runs = Runs.of(mask & ~_lines(mask, whole) & ~_lines(mask.T, whole).T)
        piece_of, pieces = _pieces(ink, runs)
    large = [p for p in pieces if max(p.size) >= max(2, (_DUST if whole else _SMALL) * longest)]
    borders = [p for p in large if longest > TINY and p.contact >= 0.6 * max(p.size)]
    candidates = [p for p in large if p not in borders]
    if not candidates:
        return None
    digit = max(candidates, key=lambda p: p.weight / (2 if p.contact else 1))
    parts = [
        p
        for p in pieces
        if p.weight >= _PART * digit.weight
        and p is not digit
        and p not in borders
        and (digit.contact or not p.contact)
    ]
    return _Found(runs, piece_of, digit, parts)


def _around(box: Box, other: Box) -> Box:
    rows, columns = (
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(box, other, strict=True)
    )
    return rows, columns


def _pieces(ink: np.ndarray, runs: Runs) -> tuple[np.ndarray, list[_Piece]]:
    """The number of each run's piece, and the pieces that are more than a pixel or so."""
    piece_of, count = runs.pieces()
    height, width = runs.shape
    areas = np.bincount(piece_of, runs.length, count)
    weights = np.bincount(piece_of, runs.sums(ink), count)
    contact = np.zeros(count)
    for along in (
        np.where(runs.row == 0, runs.length, 0),
        np.where(runs.row == height - 1, runs.length, 0),
        runs.start == 0,
        runs.stop == width,
    ):
        contact = np.maximum(contact, np.bincount(piece_of, along, count))
    boxes = _boxes(runs, piece_of, count)
    return piece_of, [
        _Piece(int(n), boxes[n], float(weights[n]), int(contact[n]))
        for n in np.flatnonzero(areas >= max(1, ink.size // 20_000))
    ]


def _boxes(runs: Runs, piece_of: np.ndarray, count: int) -> list[Box]:
    top, left = np.full((2, count), max(runs.shape))
    bottom, right = np.zeros((2, count), int)
    np.minimum.at(top, piece_of, runs.row)
    np.maximum.at(bottom, piece_of, runs.row + 1)
    np.minimum.at(left, piece_of, runs.start)
    np.maximum.at(right, piece_of, runs.stop)
    ends = zip(top.tolist(), bottom.tolist(), left.tolist(), right.tolist(), strict=True)
    return [(slice(a, b), slice(c, d)) for a, b, c, d in ends]


def _lines(mask: np.ndarray, whole: bool) -> np.ndarray:
    """Pixels of lines from left to right, straight and a little tilted, crossed by strokes or not.

    Source: R. Duda and P. Hart, Use of the Hough transformation to detect lines and curves in
    pictures, 1972; the votes of a row are those of all that is thin, for one tilt after the other.
    """
    height, width = mask.shape
    thick = max(2, round(_LINE * max(mask.shape)))
    # Strokes that cross a line are longer than it is thick, and stay.
    thin = mask & ~opened(mask.T, thick + 1).T
    rows, columns = np.nonzero(thin)
    margin = max(3, width // 6)
    ends = (columns < margin) * 1 + (columns >= width - margin) * 2
    most = round(_TILT * width)
    gone = np.zeros(len(rows), bool)
    for tilt in range(-most, most + 1):
        row = rows + np.rint(columns * (tilt / width)).astype(np.intp) + most
        count = height + 2 * most
        # Two rows, for a line that lies between them.
        votes, left, right = (
            np.convolve(np.bincount(row[chosen], minlength=count), (1, 1), "same")
            for chosen in (slice(None), ends == 1, ends == 2)
        )
        reaching = (left > margin / 3).astype(int) + (right > margin / 3)
        line = (votes > (0.5 if whole else 0.2) * width) & (reaching >= (2 if whole else 1))
        line[:-1] |= line[1:]
        gone |= line[row]
    lines = np.zeros_like(mask)
    lines[rows[gone], columns[gone]] = True
    return lines
