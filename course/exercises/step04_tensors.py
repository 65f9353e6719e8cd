"""Exercise for step 4, tensors: reductions and broadcasting, without a loop.

A reduction such as ``x.mean(dim=0)`` removes a dimension: of a tensor (N, D),
N rows of D numbers, it leaves (D,), one mean per column. Broadcasting goes the
other way: in ``x - x.mean(dim=0)`` the D means are subtracted from each of the
N rows, and in ``a[:, None] - b[None]`` every row of ``a`` meets every row of
``b``.

Write both functions, then: gpu-learning lessons check 4
"""

import torch
from torch import Tensor


def standardize(x: Tensor) -> Tensor:
    """(N, D) -> (N, D): every column with mean 0 and standard deviation 1.

    The standard deviation is torch's default, which divides by N - 1.
    """
    # BEGIN SOLUTION
    return (x - x.mean(dim=0)) / x.std(dim=0)
    # END SOLUTION


def distances(a: Tensor, b: Tensor) -> Tensor:
    """The distance of every row of a to every row of b: (N, D) and (M, D) ->
    (N, M).

    The distance of two points is the square root of the sum of their squared
    differences.
    """
    # BEGIN SOLUTION
    difference = a[:, None, :] - b[None, :, :]  # (N, M, D)
    return difference.square().sum(dim=-1).sqrt()
    # END SOLUTION


# BEGIN HIDDEN TESTS
from course.exercises.attempt import Attempt  # noqa: E402
from course.exercises.loops import refuse_loops  # noqa: E402

HINTS = (
    "dim=0 runs over the rows and leaves one number per column; dim=1 leaves one number per row.",
    "For the distances, shape a as (N, 1, D) and b as (1, M, D): a[:, None] and b[None]. Their "
    "difference has shape (N, M, D).",
    "Square that difference, sum it over its last dimension (dim=-1) and take the square root.",
)
ABOUT = ("standardize", "distances", "distances")

MISTAKES = {
    "standardize": {
        "that is with one mean for the whole tensor; take one per column, dim=0": lambda x: (
            (x - x.mean()) / x.std()
        ),
        "that is by rows; the columns are asked for, dim=0": lambda x: (
            (x - x.mean(dim=1, keepdim=True)) / x.std(dim=1, keepdim=True)
        ),
        "the mean is 0, but the result is not divided by the standard deviation": lambda x: (
            x - x.mean(dim=0)
        ),
        "that is the variance's division; divide by the standard deviation": lambda x: (
            (x - x.mean(dim=0)) / x.var(dim=0)
        ),
        "that standard deviation divides by N, as NumPy's does; torch's default, by N - 1, is "
        "asked for": lambda x: (x - x.mean(dim=0)) / x.std(dim=0, correction=0),
    },
    "distances": {
        "these are squared distances; the square root is missing": lambda a, b: torch.cdist(
            a, b
        ).square(),
        "that is the sum of absolute differences; square them": lambda a, b: torch.cdist(
            a, b, p=1.0
        ),
    },
}


def check(mine: Attempt) -> None:
    for rows, columns in ((5, 3), (4, 4), (20, 2)):
        x = 3 * torch.randn(rows, columns) + torch.arange(columns)
        mine.same("standardize", x)
    for rows, others, columns in ((4, 3, 2), (3, 3, 5), (1, 6, 3)):
        a, b = torch.randn(rows, columns), torch.randn(others, columns)
        mine.same("distances", a, b, expected=torch.cdist)
    for name in ("standardize", "distances"):
        refuse_loops(mine.find(name))


# END HIDDEN TESTS
