"""Exercise to step 26, how a GPU runs your code: launches, queues and clocks.

A call on a GPU puts a kernel into a queue, the stream, and returns. The GPU
takes the kernels out of it one after the other. So there are two costs, that
of a launch on the CPU and that of the kernel on the GPU, and they overlap. A
clock that is read on the CPU knows nothing of the second one, unless the
program waits for the GPU: synchronize.

Write the three functions, then: gpu-learning lessons check 26
"""

from collections.abc import Callable
from statistics import median


def blocks(n: int, threads: int) -> int:
    """The fewest blocks of ``threads`` threads that have a thread for each of
    n elements."""
    # BEGIN SOLUTION
    return (n + threads - 1) // threads
    # END SOLUTION


def total_us(launches: int, launch_us: float, kernel_us: float) -> float:
    """Microseconds until a GPU has done ``launches`` kernels (at least one).

    The CPU needs launch_us for each launch and does not wait for the GPU. A
    kernel begins when it is launched and the one before it is done, and takes
    kernel_us.
    """
    # BEGIN SOLUTION
    slower = max(launch_us, kernel_us)
    return launch_us + (launches - 1) * slower + kernel_us
    # END SOLUTION


def median_ms(
    function: Callable[[], object],
    synchronize: Callable[[], object],
    clock: Callable[[], float],
    repeat: int,
) -> float:
    """The median of ``repeat`` runs of ``function``, each timed to its end, in
    milliseconds.

    ``function`` launches work and returns at once; ``synchronize`` returns
    when all launched work is done; ``clock`` returns seconds. One more run,
    before the others, is not counted: it compiles.
    """
    # BEGIN SOLUTION
    function()
    synchronize()
    taken = []
    for _ in range(repeat):
        began = clock()
        function()
        synchronize()
        taken.append(1000 * (clock() - began))
    return median(taken)
    # END SOLUTION


# BEGIN HIDDEN TESTS
from course.exercises.attempt import Attempt  # noqa: E402

HINTS = (
    "Division that rounds up: (n + threads - 1) // threads.",
    "Draw the launches as one row of boxes and the kernels as another one: whichever boxes are "
    "longer leave no gap in their row. The first launch and the last kernel do not overlap; in "
    "between, each further kernel costs the longer one of launch and kernel.",
    "Run once and synchronize; then per run: read the clock, call function, synchronize, read the "
    "clock. statistics.median takes a list.",
)
ABOUT = ("blocks", "total_us", "median_ms")

MISTAKES = {
    "blocks": {
        "the division rounds down, so that the last elements have no thread": lambda n, threads: (
            n // threads
        ),
        "that is one block too many where n is a multiple": lambda n, threads: n // threads + 1,
    },
    "total_us": {
        "the CPU does not wait for a kernel before the next launch": lambda n, launch, kernel: (
            1.0 * n * (launch + kernel)
        ),
        "that is the time of the launches alone; the last kernel is not done yet": (
            lambda n, launch, kernel: 1.0 * n * launch
        ),
        "that is the time of the kernels; the first one begins after its launch": (
            lambda n, launch, kernel: 1.0 * n * kernel
        ),
    },
}


class Stream:
    """A GPU's queue with a clock of its own: the same on every machine.

    Args:
        kernel: milliseconds of a kernel.
        slow: number of the run that takes ten times as long, counted from 0.
    """

    LAUNCH, COMPILING = 0.005, 300.0

    def __init__(self, kernel: float, slow: int = -1) -> None:
        self.kernel, self.slow = kernel, slow
        self.now = self.done = 0.0
        self.runs = 0

    def launch(self) -> None:
        self.now += self.LAUNCH if self.runs else self.COMPILING
        kernel = self.kernel * (10 if self.runs == self.slow else 1)
        self.done = max(self.now, self.done) + kernel
        self.runs += 1

    def synchronize(self) -> None:
        self.now = max(self.now, self.done)

    def clock(self) -> float:
        return self.now / 1000


def _wrong(
    stream: Stream,
    repeat: int,
    warm_up: bool = True,
    before: bool = True,
    after: bool = True,
    factor: float = 1000,
    mean: bool = False,
) -> float:
    if warm_up:
        stream.launch()
    if before:
        stream.synchronize()
    taken = []
    for _ in range(repeat):
        began = stream.clock()
        stream.launch()
        if after:
            stream.synchronize()
        taken.append(factor * (stream.clock() - began))
    return sum(taken) / repeat if mean else median(taken)


_TIMERS = {
    "the clock is read before the GPU is done: synchronize after the call": {"after": False},
    "the first run still waits for the one that is not counted: synchronize before the clock "
    "is read": {"before": False},
    "the first run, which compiles, is counted": {"warm_up": False},
    "these are seconds": {"factor": 1},
    "that is the mean, which one slow run spoils": {"mean": True},
}


def check(mine: Attempt) -> None:
    for n, threads in ((1000, 256), (1024, 256), (1, 32), (257, 256)):
        mine.same("blocks", n, threads)
    for launches, launch, kernel in ((5, 4.0, 20.0), (5, 4.0, 1.0), (1, 4.0, 3.0), (3, 2.0, 2.0)):
        mine.same("total_us", launches, launch, kernel)
    for kernel, repeat, slow in ((2.0, 5, 3), (0.5, 1, -1)):
        stream = Stream(kernel, slow)
        shown = f"median_ms of {repeat} runs of a kernel of {kernel:g} ms"
        want = _wrong(Stream(kernel, slow), repeat)
        got = mine.call(
            "median_ms", stream.launch, stream.synchronize, stream.clock, repeat, shown=shown
        )
        usual = {
            sentence: _wrong(Stream(kernel, slow), repeat, **mistake)
            for sentence, mistake in _TIMERS.items()
        }
        mine.equal(got, want, shown, usual)


# END HIDDEN TESTS
