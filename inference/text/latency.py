"""Times between the tokens of an answer, counted by length; imports nothing heavy."""

from bisect import bisect_left

# Seconds; upper ends of the ranges that are counted, with one more for what is longer.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class TokenGaps:
    """How many gaps between two tokens fell into each range, and how long they were together.

    ``counts`` has one number per bound and one for longer gaps; ``total`` is in seconds.
    """

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def merge(self, other: "TokenGaps") -> None:
        """Adds what another has counted."""
        self.counts = [one + more for one, more in zip(self.counts, other.counts, strict=True)]
        self.total += other.total
