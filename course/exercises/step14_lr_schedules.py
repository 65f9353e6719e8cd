"""Exercise for step 14, learning-rate schedules: warm-up and cosine.

Most large models are trained with it. In the ``warmup`` first steps the
learning rate rises in a straight line: the first step already takes peak /
warmup, the last of them takes the peak. Then it falls along half a cosine,
from the peak towards ``floor``, which it would reach at step ``total``: floor
+ (peak - floor) * (1 + cos(pi * way)) / 2, where ``way`` goes from 0 at the
end of the warm-up to 1 at ``total``.

Write the function, then: gpu-learning lessons check 14
"""

import math


def learning_rate(
    step: int,
    warmup: int,
    total: int,
    peak: float,
    floor: float = 0.0,
) -> float:
    """The learning rate of a step, counted from 0."""
    # BEGIN SOLUTION
    if step < warmup:
        return peak * (step + 1) / warmup
    way = (step - warmup) / (total - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * way)) / 2
    # END SOLUTION


# BEGIN HIDDEN TESTS
from course.exercises.attempt import Attempt  # noqa: E402

HINTS = (
    "Two cases: if step < warmup, and the rest.",
    "Steps count from 0, so the warm-up is peak * (step + 1) / warmup.",
    "way = (step - warmup) / (total - warmup); math.cos and math.pi are in the module math.",
)


def _cosine(way: float, peak: float, floor: float) -> float:
    return floor + (peak - floor) * (1 + math.cos(math.pi * way)) / 2


MISTAKES = {
    "learning_rate": {
        "the first step would not learn at all; steps count from 0": (
            lambda step, warmup, total, peak, floor: peak * step / warmup
        ),
        "there is no warm-up; step is below warmup here": (
            lambda step, warmup, total, peak, floor: _cosine(
                (step - warmup) / (total - warmup), peak, floor
            )
        ),
        "the cosine begins after the warm-up: (step - warmup) / (total - warmup)": (
            lambda step, warmup, total, peak, floor: _cosine(step / total, peak, floor)
        ),
        "the length of the fall is total - warmup": lambda step, warmup, total, peak, floor: (
            _cosine((step - warmup) / total, peak, floor)
        ),
        "that falls to 0; it has to end at the floor": lambda step, warmup, total, peak, floor: (
            _cosine((step - warmup) / (total - warmup), peak, 0)
        ),
        "that is a straight line down; use a cosine": lambda step, warmup, total, peak, floor: (
            peak + (floor - peak) * (step - warmup) / (total - warmup)
        ),
    },
}


def check(mine: Attempt) -> None:
    for warmup, total, peak, floor in (
        (4, 20, 0.1, 0.0),
        (10, 50, 0.003, 0.0003),
        (0, 7, 1.0, 0.1),
    ):
        for step in range(total):
            mine.same("learning_rate", step, warmup, total, peak, floor, atol=1e-9)


# END HIDDEN TESTS
