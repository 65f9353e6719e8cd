"""Exercise to step 28, shared memory: threads of a block work together.

cuda.shared.array is memory that all threads of a block see; it begins with
whatever was there before. cuda.syncthreads() is a barrier: no thread passes
it before all threads of the block have come to it, and what they wrote before
is then visible to all. Where several threads add to one element, only an
atomic addition loses nothing: cuda.atomic.add(array, index, value). On a
machine without a GPU the check uses numba's simulator.

Write both kernels, then: gpu-learning lessons check 28
"""

from numba import cuda, float32, int32

THREADS = 64  # of a block; a power of two
DIGITS = 10


@cuda.jit
def block_sums(x, sums):
    """sums[b] = the sum of the elements that the threads of block b have.

    Each thread takes one element into shared memory, or 0 where there is none.
    Then half of the threads add the value of a thread of the other half to
    their own, then a quarter, and so on.
    """
    # BEGIN SOLUTION
    shared = cuda.shared.array(THREADS, float32)
    thread = cuda.threadIdx.x
    i = cuda.grid(1)
    if i < x.size:
        shared[thread] = x[i]
    else:
        shared[thread] = 0.0
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            shared[thread] += shared[thread + half]
        cuda.syncthreads()
        half //= 2
    if thread == 0:
        sums[cuda.blockIdx.x] = shared[0]
    # END SOLUTION


@cuda.jit
def histogram(digits, counts):
    """counts[d] += how often d is among ``digits``, numbers from 0 to 9.

    Each block counts in shared memory; then it adds its ten numbers to
    ``counts``, as other blocks do.
    """
    # BEGIN SOLUTION
    own = cuda.shared.array(DIGITS, int32)
    thread = cuda.threadIdx.x
    i = cuda.grid(1)
    if thread < DIGITS:
        own[thread] = 0
    cuda.syncthreads()
    if i < digits.size:
        cuda.atomic.add(own, digits[i], 1)
    cuda.syncthreads()
    if thread < DIGITS:
        cuda.atomic.add(counts, thread, own[thread])
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from course.kernels import launch, simulator  # noqa: E402

HINTS = (
    "block_sums: shared = cuda.shared.array(THREADS, float32); write, then cuda.syncthreads(), "
    "then read what other threads wrote. A thread without an element writes 0.",
    "while half > 0: if thread < half: shared[thread] += shared[thread + half]; then, outside of "
    "the if, cuda.syncthreads() and half //= 2.",
    "histogram: set the shared counts to 0, barrier, cuda.atomic.add(own, digits[i], 1), barrier, "
    "and the first ten threads do cuda.atomic.add(counts, thread, own[thread]).",
)
ABOUT = ("block_sums", "block_sums", "histogram")


def _blocks(x: torch.Tensor) -> torch.Tensor:
    """One row per block; 0 where there is no element."""
    padded = torch.zeros(-(-len(x) // THREADS) * THREADS)
    padded[: len(x)] = x
    return padded.view(-1, THREADS)


def _refuse_few_readers(what: str, enough: int, asked: str) -> None:
    """The numbers are right; do the threads work together? On a GPU nothing is counted."""
    readers = simulator.readers()
    if readers is not None and readers < enough:
        number = "no thread reads" if not readers else f"only {readers} of the threads read"
        raise launch.Wrong(f"{what} are right, but {number} shared memory; {asked}")


def check(mine: Attempt) -> None:
    # Barriers and atomics are needed whichever threads are the slow ones.
    for slow_first, n in ((True, 70), (False, 64)):
        blocks = -(-n // THREADS)
        x = torch.rand(n) + 0.5
        out = launch.Out(torch.empty(blocks))
        with simulator.bad_order(slow_first):
            [got] = launch.numba(mine, "block_sums", blocks, THREADS, x, out)
        what = f"sums of block_sums for {n} elements"
        usual = {
            "that is the first element of each block": x[::THREADS],
            "that is the sum of half a block: does the loop begin at THREADS // 2?": (
                _blocks(x)[:, : THREADS // 2].sum(dim=1)
            ),
            "the last round, half = 1, is missing": _blocks(x)[:, ::2].sum(dim=1),
        }
        if got[1:].isnan().all() and len(got) > 1 and not got[0].isnan():
            raise launch.Wrong(
                f"{what} has a value for the first block alone; block b writes sums[b], "
                "cuda.blockIdx.x being its number"
            )
        if (got.abs() > simulator.GARBAGE / 2).any():
            raise launch.Wrong(
                f"{what} is garbage: a thread reads shared memory that no thread has written "
                "yet; is there a cuda.syncthreads() between, and a 0 where there is no element?"
            )
        lost = "a thread reads what another one has not added yet; does each round end with "
        lost += "cuda.syncthreads()?"
        launch.reason(mine, got, _blocks(x).sum(dim=1), what, lost, usual)
        asked = "let each thread put its element there, and half of them add in the first round"
        _refuse_few_readers(what, THREADS // 2, asked)
    for slow_first, n in ((True, 70), (False, 30)):
        digits = torch.randint(0, DIGITS, (n,), dtype=torch.int32)
        begin = torch.arange(DIGITS, dtype=torch.int32)
        out = launch.Out(begin, shared_by_blocks=True)
        blocks = -(-n // THREADS)
        with simulator.bad_order(slow_first):
            [got] = launch.numba(mine, "histogram", blocks, THREADS, digits, out)
        counts = torch.bincount(digits, minlength=DIGITS).int()
        what = f"counts of histogram for {n} digits"
        if (got > n + DIGITS).any() or (got < 0).any():
            raise launch.Wrong(
                f"{what} are far too large: shared memory does not begin at 0; set it to 0, then "
                "cuda.syncthreads()"
            )
        usual = {
            "counts had values already; add to them": counts,
            "each block adds its counts more than once": begin + THREADS * counts,
        }
        lost = (
            "a barrier is missing: the counts must be 0 before a thread adds to them, and complete "
        )
        lost += "before they are passed on"
        if simulator.plain_additions():
            lost = "threads that add to one element at once lose additions; use cuda.atomic.add"
        launch.reason(mine, got, begin + counts, what, lost, usual)
        asked = "let each thread add its digit to the block's counts there, and pass on the sums"
        _refuse_few_readers(what, n, asked)


# END HIDDEN TESTS
