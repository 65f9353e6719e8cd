"""Exercise to step 32, matrix multiplication: c = a @ b, a tile of c for each
program.

A program loads a tile of a and a tile of b, multiplies them with tl.dot, adds
the product to its sum, and continues along K. The sum is float32 whatever a and
b are. M, N and K need not be multiples of the blocks: what lies beyond K must
count as 0, and what lies beyond M and N must not be stored.

An element (i, j) of a is at a + i * a_row + j * a_column, so that the kernel
reads transposed matrices, too; b has its own two strides. c is contiguous.

Write the kernel, then: gpu-learning lessons check 32
"""

import triton
import triton.language as tl


@triton.jit
def matmul_kernel(
    a,
    b,
    c,
    M,
    N,
    K,
    a_row,
    a_column,
    b_row,
    b_column,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """The tile (BLOCK_M, BLOCK_N) of c (M, N), float32, that belongs to this
    program: down program_id(0), across program_id(1).

    a is (M, K) and b is (K, N), both of one type. Multiply float32 exactly:
    tl.dot(..., input_precision="ieee").
    """
    # BEGIN SOLUTION
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    a += rows[:, None] * a_row + inner[None, :] * a_column
    b += inner[:, None] * b_row + columns[None, :] * b_column
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, K, BLOCK_K):
        left = inner < K - start
        inside_a = (rows[:, None] < M) & left[None, :]
        inside_b = left[:, None] & (columns[None, :] < N)
        x = tl.load(a, mask=inside_a, other=0.0)
        y = tl.load(b, mask=inside_b, other=0.0)
        total = tl.dot(x, y, total, input_precision="ieee")
        a += BLOCK_K * a_column
        b += BLOCK_K * b_row
    inside = (rows[:, None] < M) & (columns[None, :] < N)
    tl.store(c + rows[:, None] * N + columns[None, :], total, mask=inside)
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from course.kernels import launch  # noqa: E402
from course.kernels.launch import Out  # noqa: E402

HINTS = (
    "rows[:, None] * a_row + inner[None, :] * a_column are the offsets of a tile of a: rows down, "
    "inner = tl.arange(0, BLOCK_K) across. For b it is inner down and columns across.",
    "In step start along K, load with mask inner < K - start and other=0.0, then move both "
    "pointers: a by BLOCK_K * a_column, b by BLOCK_K * b_row.",
    "total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32) before the loop, "
    "total = tl.dot(x, y, total) in it, and one tl.store after it.",
)
BLOCK = 16


def _first_blocks(a: Tensor, b: Tensor, move_a: bool, move_b: bool) -> Tensor:
    """The product where a pointer does not move."""
    total = torch.zeros(len(a), b.shape[1])
    for start in range(0, a.shape[1], BLOCK):
        width = min(BLOCK, a.shape[1] - start)
        x, y = (start if move else 0 for move in (move_a, move_b))
        total += a[:, x : x + width] @ b[y : y + width]
    return total


def _mistakes(a: Tensor, b: Tensor, stored_a: Tensor, stored_b: Tensor) -> dict[str, Tensor]:
    """Of the product of two matrices that lie in memory as the stored ones."""
    (m, k), n = a.shape, b.shape[1]
    a_rows, b_rows = stored_a.reshape(m, k), stored_b.reshape(k, n)
    last = (k - 1) // BLOCK * BLOCK
    nothing = torch.full((m, n), float("nan"))
    # Beyond the last row of a lies what is not a number; other rows are followed by their next.
    row_lost = (a @ b).clone()
    row_lost[-1] = nothing[-1]
    return {
        "each step overwrites the sum of the steps before it": a[:, last:] @ b[last:],
        "that is the first step alone; go on along K": a[:, :BLOCK] @ b[:BLOCK],
        "the steps that are not whole are missing; take the last elements of K, too": (
            a[:, : k // BLOCK * BLOCK] @ b[: k // BLOCK * BLOCK]
        ),
        "a's pointers do not move along K": _first_blocks(a, b, False, True),
        "b's pointers do not move along K": _first_blocks(a, b, True, False),
        "neither pointer moves along K": _first_blocks(a, b, False, False),
        "b is read as if it was stored row by row; use b_row and b_column": a @ b_rows,
        "a is read as if it was stored row by row; use a_row and a_column": a_rows @ b,
        "both are read as if they were stored row by row; use the strides": a_rows @ b_rows,
        "what lies beyond K is read and counts; mask both loads, other=0.0": nothing,
        "a is read beyond K; mask its load, other=0.0: 0 times what is not a number is none": (
            row_lost
        ),
    }


def _check(mine: Attempt, a: Tensor, b: Tensor, transposed: str, names: str) -> None:
    (m, k), n = a.shape, b.shape[1]
    stored = [x.T.contiguous() if name in transposed else x for x, name in ((a, "a"), (b, "b"))]
    strides = (1, m) if "a" in transposed else (k, 1)
    strides += (1, k) if "b" in transposed else (n, 1)
    grid = (-(-m // BLOCK), -(-n // BLOCK))
    sizes = {"BLOCK_M": BLOCK, "BLOCK_N": BLOCK, "BLOCK_K": BLOCK}
    out = Out(torch.empty(m, n))
    (got,) = launch.triton(mine, "matmul_kernel", grid, *stored, out, m, n, k, *strides, **sizes)
    want = a.float() @ b.float()
    known = _mistakes(a.float(), b.float(), *(x.float() for x in stored))
    what = f"({m}, {k}) @ ({k}, {n}){names}"
    if a.dtype == torch.float16:
        known = {
            "the sum is float16, whose largest number is 65504; sum in float32": (
                torch.full_like(want, float("inf"))
            )
        }
    launch.compare(mine, got, want, what, known)


def check(mine: Attempt) -> None:
    for k in (16, 48):  # whole numbers, which are exact in float16, too
        a, b = torch.randint(-3, 4, (16, k)), torch.randint(-3, 4, (k, 16))
        _check(mine, a.float(), b.float(), "", "")
    large = torch.full((16, 512), 16.0, dtype=torch.float16)
    _check(mine, large, large.T.contiguous(), "", " in float16")
    a, b = torch.randn(17, 37), torch.randn(37, 20)
    _check(mine, a, b, "", "")
    _check(mine, a, b, "b", ", b stored transposed")
    _check(mine, a, b, "a", ", a stored transposed")


# END HIDDEN TESTS
