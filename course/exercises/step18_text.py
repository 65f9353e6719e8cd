"""Exercise for step 18, text as numbers: one merge of byte-pair encoding.

A byte-pair tokenizer begins with single characters. Again and again it looks
for the pair of neighboring tokens that occurs most often and replaces it by a
new token: so frequent words become one token, and rare ones stay pieces. A
merge goes from left to right, and a token that became part of a new one is
used up: in [7, 7, 7] the pair (7, 7) can be replaced once.

Write both functions, then: gpu-learning lessons check 18
"""

from itertools import pairwise


def most_frequent_pair(ids: list[int]) -> tuple[int, int]:
    """The most frequent pair of neighbors; of several, the first one."""
    # BEGIN SOLUTION
    counts: dict[tuple[int, int], int] = {}
    for left, right in pairwise(ids):
        counts[left, right] = counts.get((left, right), 0) + 1
    return max(counts, key=lambda pair: counts[pair])
    # END SOLUTION


def merge(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """A new list, in which ``new`` is in the place of every ``pair``."""
    # BEGIN SOLUTION
    merged: list[int] = []
    position = 0
    while position < len(ids):
        if tuple(ids[position : position + 2]) == pair:
            merged.append(new)
            position += 2
        else:
            merged.append(ids[position])
            position += 1
    return merged
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402

HINTS = (
    "pairwise(ids) yields all pairs of neighbors; count them in a dictionary.",
    "max(counts, key=counts.get) is the key with the largest count, and of several the first that "
    "was put in.",
    "In merge, walk with an index: where ids[i] and ids[i + 1] are the pair, append new and go two "
    "further, otherwise append ids[i] and go one further. The last token has no neighbor.",
)
ABOUT = ("most_frequent_pair", "most_frequent_pair", "merge")


def _used_twice(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    found = [tuple(ids[position : position + 2]) == pair for position in range(len(ids))]
    return [new if is_pair else token for token, is_pair in zip(ids, found, strict=True)]


def _first_only(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    for position in range(len(ids)):
        if tuple(ids[position : position + 2]) == pair:
            return [*ids[:position], new, *ids[position + 2 :]]
    return ids


MISTAKES = {
    "most_frequent_pair": {
        "that is a pair of the two most frequent tokens, not of neighbors": lambda ids: tuple(
            sorted(set(ids), key=lambda token: -ids.count(token))[:2]
        ),
        "that is the last of the most frequent pairs; of several take the first": lambda ids: max(
            reversed(list(dict.fromkeys(pairwise(ids)))),
            key=lambda pair: list(pairwise(ids)).count(pair),
        ),
    },
    "merge": {
        "the second token of a pair is used up: go two further after a merge": _used_twice,
        "only the first occurrence was replaced": _first_only,
        "the last token is lost": lambda ids, pair, new: merge(ids, pair, new)[:-1],
    },
}


def check(mine: Attempt) -> None:
    mine.same("most_frequent_pair", [1, 2, 3, 1, 2])
    mine.same("most_frequent_pair", [5, 6, 7, 8, 7, 8, 5, 6])  # (5, 6) and (7, 8), twice each
    mine.same("merge", [1, 2, 3, 1, 2, 4], (1, 2), 9)
    mine.same("merge", [7, 7, 7, 1], (7, 7), 9)
    for size in (12, 30):
        ids = torch.randint(0, 4, (size,)).tolist()
        mine.same("most_frequent_pair", ids)
        mine.same("merge", ids, most_frequent_pair(ids), 100)


# END HIDDEN TESTS
