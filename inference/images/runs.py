"""Connected pieces and openings of a mask, from its runs of pixels side by side."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Runs:
    """All runs of a mask (H, W), from top to bottom and from left to right.

    Run ``i`` covers the columns ``start[i]`` to ``stop[i] - 1`` of row ``row[i]``.
    """

    shape: tuple[int, int]
    row: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray) -> "Runs":
        height, width = mask.shape
        padded = np.zeros((height, width + 1), np.int8)
        padded[:, :-1] = mask
        steps = np.diff(padded.ravel(), prepend=np.int8(0))
        row, start = np.divmod(np.flatnonzero(steps > 0), width + 1)
        return cls((height, width), row, start, np.flatnonzero(steps < 0) - row * (width + 1))

    @property
    def length(self) -> np.ndarray:
        return self.stop - self.start

    def mask(self, chosen: np.ndarray) -> np.ndarray:
        """The chosen runs, (H, W) bool."""
        height, width = self.shape
        steps = np.zeros((height, width + 1), np.int8)
        steps[self.row[chosen], self.start[chosen]] = 1
        steps[self.row[chosen], self.stop[chosen]] -= 1
        return np.cumsum(steps.ravel(), dtype=np.int8).reshape(steps.shape)[:, :-1].astype(bool)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """The sum of ``values`` (H, W) over each run."""
        totals = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
        width = self.shape[1]
        return totals[self.row * width + self.stop] - totals[self.row * width + self.start]

    def pieces(self) -> tuple[np.ndarray, int]:
        """The number of the 8-connected piece that each run is of, and how many there are.

        Source: Y. Shiloach and U. Vishkin, An O(log n) parallel connectivity algorithm, 1982: every
        tree of runs hangs itself below the lowest that it touches, and is then flattened.
        """
        above, below = self._neighbors()
        root = np.arange(len(self.row))
        while True:
            first, second = root[above], root[below]
            apart = first != second
            if not apart.any():
                numbers, piece = np.unique(root, return_inverse=True)
                return piece, len(numbers)
            above, below = above[apart], below[apart]
            first, second = first[apart], second[apart]
            np.minimum.at(root, np.maximum(first, second), np.minimum(first, second))
            while (root[root] != root).any():
                root = root[root]

    def _neighbors(self) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of runs that touch, corners included: the upper ones, and the lower ones."""
        span = self.shape[1] + 2
        starts, stops = self.row * span + self.start, self.row * span + self.stop
        first = np.searchsorted(stops, starts + span)
        count = np.searchsorted(starts, stops + span, side="right") - first
        count = np.maximum(count, 0)
        above = np.repeat(np.arange(len(starts)), count)
        begin = np.repeat(first - (np.cumsum(count) - count), count)
        return above, begin + np.arange(len(above))


def opened(mask: np.ndarray, length: int) -> np.ndarray:
    """What remains of a mask without runs below ``length``: its opening by a line in a row."""
    runs = Runs.of(mask)
    return runs.mask(runs.length >= length)
