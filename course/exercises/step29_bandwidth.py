"""Exercise to step 29, memory bandwidth: copy and transpose in Triton.

A Triton kernel works on blocks of elements. Its program number p takes the
elements p * BLOCK to (p + 1) * BLOCK - 1: tl.arange makes their offsets, and
mask= leaves out those that do not exist. A GPU moves memory in sectors of 32
bytes: the fewer of them the 32 threads of a warp touch at once, the faster.
On a machine without a GPU the check uses Triton's interpreter.

Write all four, then: gpu-learning lessons check 29
"""

import triton
import triton.language as tl


def sectors(stride: int, size: int) -> int:
    """How many sectors of 32 bytes a warp's 32 threads touch.

    Thread t loads the ``size`` bytes of element t * stride; element 0 begins a
    sector, and ``size`` divides 32.
    """
    # BEGIN SOLUTION
    return len({thread * stride * size // 32 for thread in range(32)})
    # END SOLUTION


def bandwidth(elements: int, size: int, milliseconds: float) -> float:
    """Gigabytes (1e9 bytes) per second of a copy of elements of ``size``
    bytes: each is read and written."""
    # BEGIN SOLUTION
    return 2 * elements * size / (milliseconds / 1000) / 1e9
    # END SOLUTION


@triton.jit
def copy(x, out, n, BLOCK: tl.constexpr):
    """out[i] = x[i] for n elements; BLOCK elements per program."""
    # BEGIN SOLUTION
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    tl.store(out + i, tl.load(x + i, mask=inside), mask=inside)
    # END SOLUTION


@triton.jit
def transpose(x, out, rows, cols, TILE: tl.constexpr):
    """out[col, row] = x[row, col]; both matrices lie in memory row by row.

    Program (p, q) takes the TILE rows from p * TILE and the TILE columns from
    q * TILE.
    """
    # BEGIN SOLUTION
    row = tl.program_id(0) * TILE + tl.arange(0, TILE)[:, None]
    col = tl.program_id(1) * TILE + tl.arange(0, TILE)[None, :]
    inside = (row < rows) & (col < cols)
    tile = tl.load(x + row * cols + col, mask=inside)
    tl.store(out + col * rows + row, tile, mask=inside)
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from course.kernels import launch  # noqa: E402

HINTS = (
    "sectors: how many different numbers thread * stride * size // 32 has for 32 threads; a set "
    "counts each once. bandwidth: twice elements * size bytes, by milliseconds / 1000 seconds.",
    "i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK) are the program's elements; load and store "
    "take mask=i < n.",
    "[:, None] makes a column of the row numbers, [None, :] a row of the column numbers; their sum "
    "is a tile. Element (row, col) of x is at row * cols + col, element (col, row) of out at col * "
    "rows + row. Both need the mask (row < rows) & (col < cols).",
)
ABOUT = ("sectors bandwidth", "copy", "transpose")

MISTAKES = {
    "sectors": {
        "that is one per thread; neighbors may share a sector": lambda stride, size: 32,
        "the size of an element is left out": lambda stride, size: len(
            {thread * stride // 32 for thread in range(32)}
        ),
        "the stride is left out": lambda stride, size: size,
    },
    "bandwidth": {
        "each element is read and written: twice the bytes": lambda n, size, ms: (
            n * size / ms / 1e6
        ),
        "a millisecond is 1e-3 seconds": lambda n, size, ms: 2 * n * size / ms / 1e9,
        "that is without the size of an element": lambda n, size, ms: 2 * n / ms / 1e6,
        "a gigabyte is 1e9 bytes here, not 2**30": lambda n, size, ms: (
            2 * n * size / (ms / 1000) / 2**30
        ),
    },
}


def check(mine: Attempt) -> None:
    for stride, size in ((1, 4), (2, 4), (8, 4), (32, 4), (1, 2), (3, 8), (0, 4)):
        mine.same("sectors", stride, size)
    for elements, size, milliseconds in ((10**9, 4, 2.0), (4096, 2, 0.01)):
        mine.same("bandwidth", elements, size, milliseconds)
    for n in (64, 100, 7):
        x = torch.randn(n)
        [got] = launch.triton(mine, "copy", -(-n // 32), x, launch.Out(torch.empty(n)), n, BLOCK=32)
        usual = {
            "each program copies the first block; program_id(0) is missing": torch.cat(
                [x[:32], torch.full_like(x[32:], float("nan"))]
            )
        }
        launch.compare(mine, got, x, f"out of copy for {n} elements", usual)
    for rows, cols in ((16, 16), (20, 35), (3, 17)):
        x, out = torch.randn(rows, cols), torch.empty(cols, rows)
        grid = (-(-rows // 16), -(-cols // 16))
        [got] = launch.triton(mine, "transpose", grid, x, launch.Out(out), rows, cols, TILE=16)
        usual = {
            "that is x itself; out has rows of ``rows`` elements, and (col, row) is at col * rows "
            "+ row": x.reshape(cols, rows),
            "x has rows of cols elements; its element (row, col) is at row * cols + col": (
                x.flatten()[(torch.arange(rows)[:, None] * rows + torch.arange(cols)) % x.numel()].T
            ),
        }
        what = f"out of transpose for {rows} rows and {cols} columns"
        launch.compare(mine, got, x.T, what, usual)


# END HIDDEN TESTS
