"""Exercise to step 27, threads and blocks: kernels with one thread per element.

A kernel is a function that many threads run at once. cuda.grid(1) is the
number of a thread among all threads of all blocks, cuda.grid(2) its two
numbers, along x and along y. There are often more threads than elements, since
a grid consists of whole blocks: so each thread looks whether its element
exists. On a machine without a GPU the check uses numba's simulator.

Write the function and both kernels, then: gpu-learning lessons check 27
"""

from numba import cuda


def grid_2d(rows: int, cols: int, threads: tuple[int, int]) -> tuple[int, int]:
    """Blocks along x and along y that cover a matrix.

    x runs over the columns and y over the rows; ``threads`` are those of one
    block along x and along y.
    """
    # BEGIN SOLUTION
    along_x = (cols + threads[0] - 1) // threads[0]
    along_y = (rows + threads[1] - 1) // threads[1]
    return along_x, along_y
    # END SOLUTION


@cuda.jit
def axpy(a, x, y, out):
    """out[i] = a * x[i] + y[i]: one thread per element."""
    # BEGIN SOLUTION
    i = cuda.grid(1)
    if i < out.size:
        out[i] = a * x[i] + y[i]
    # END SOLUTION


@cuda.jit
def add_bias(x, bias, out):
    """out[row, col] = x[row, col] + bias[col]: one thread per element, x of
    the grid over the columns."""
    # BEGIN SOLUTION
    col, row = cuda.grid(2)
    if row < out.shape[0] and col < out.shape[1]:
        out[row, col] = x[row, col] + bias[col]
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from course.kernels import launch  # noqa: E402

HINTS = (
    "cols are divided by threads[0] and rows by threads[1], rounding up: (n + threads - 1) // "
    "threads.",
    "cuda.grid(1) is cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x. Let the thread do "
    "nothing where that is not below out.size.",
    "cuda.grid(2) returns (along x, along y), and x is the column: col, row = cuda.grid(2). Both "
    "conditions must hold: row < out.shape[0] and col < out.shape[1].",
)
ABOUT = ("grid_2d", "axpy", "add_bias")

MISTAKES = {
    "grid_2d": {
        "the divisions round down, so that the last rows and columns have no threads": (
            lambda rows, cols, threads: (cols // threads[0], rows // threads[1])
        ),
        "x runs over the columns, so the blocks of the columns come first": (
            lambda rows, cols, threads: (-(-rows // threads[1]), -(-cols // threads[0]))
        ),
        "rows and cols are swapped: threads[0], those along x, are for the columns": (
            lambda rows, cols, threads: (-(-rows // threads[0]), -(-cols // threads[1]))
        ),
    },
}


def _only_first(values: torch.Tensor, number: int) -> torch.Tensor:
    """What is there if only the first elements are written."""
    return torch.cat([values[:number], torch.full_like(values[number:], float("nan"))])


def check(mine: Attempt) -> None:
    for rows, cols in ((5, 9), (8, 4), (1, 1)):
        mine.same("grid_2d", rows, cols, (4, 2))
    for n, threads in ((8, 8), (21, 8), (3, 4)):
        x, y, out = torch.randn(3, n)
        blocks = -(-n // threads)
        [got] = launch.numba(mine, "axpy", blocks, threads, 2.0, x, y, launch.Out(out))
        usual = {
            "threadIdx.x counts within a block; cuda.grid(1) counts all threads": _only_first(
                2 * x + y, threads
            ),
            "a multiplies x alone": 2 * (x + y),
        }
        launch.compare(mine, got, 2 * x + y, f"out of axpy for {n} elements", usual)
        launch.one_per_thread(f"out of axpy for {n} elements")
    for rows, cols in ((5, 9), (4, 4), (3, 10)):
        x, bias, out = torch.randn(rows, cols), torch.randn(cols), torch.empty(rows, cols)
        blocks = (-(-cols // 4), -(-rows // 2))
        [got] = launch.numba(mine, "add_bias", blocks, (4, 2), x, bias, launch.Out(out))
        swapped = (x + bias).clone()
        swapped[blocks[0] * 4 :], swapped[:, blocks[1] * 2 :] = float("nan"), float("nan")
        usual = {
            "cuda.grid(2) returns the number along x first, which is the column": swapped,
            "the bias is not added": x,
        }
        what = f"out of add_bias for {rows} rows and {cols} columns"
        launch.compare(mine, got, x + bias, what, usual)
        launch.one_per_thread(what)


# END HIDDEN TESTS
