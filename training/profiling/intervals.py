"""Sets of moments, as sorted disjoint intervals ``(start, end)``."""

from collections.abc import Iterable

Interval = tuple[float, float]


def union(intervals: Iterable[Interval], bridge: float = 0.0) -> list[Interval]:
    """Joins what overlaps, and what is apart by at most ``bridge``."""
    joined: list[Interval] = []
    for start, end in sorted(intervals):
        if joined and start <= joined[-1][1] + bridge:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def without(intervals: list[Interval], others: list[Interval]) -> list[Interval]:
    """The moments of ``intervals`` that are not in ``others``; both sorted and disjoint."""
    left: list[Interval] = []
    at = 0
    for start, end in intervals:
        while at < len(others) and others[at][1] <= start:
            at += 1
        following = at
        while following < len(others) and others[following][0] < end:
            if others[following][0] > start:
                left.append((start, others[following][0]))
            start = max(start, others[following][1])
            following += 1
        if start < end:
            left.append((start, end))
    return left


def within(intervals: list[Interval], others: list[Interval]) -> list[Interval]:
    """The moments of ``intervals`` that are in ``others``, too."""
    return without(intervals, without(intervals, others))


def length(intervals: Iterable[Interval]) -> float:
    """Of disjoint intervals together."""
    return sum(end - start for start, end in intervals)
