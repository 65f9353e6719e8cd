"""numba's simulator as a check wants it: no index is below zero, and threads run in a bad order.

The simulator runs the threads of a block as Python threads, which hardly ever interrupt each other,
so that a kernel without a barrier or without atomics comes out right by chance. Here a thread waits
after each read, for a time that depends on its number: what may go wrong does. Which threads do the
work is recorded, too: a kernel in which one thread does all of it computes the same.
"""

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from course.kernels import environment

_WAIT = 2e-5  # seconds per step of a thread's number
GARBAGE = 1e30  # what floats of shared memory begin with
_slow_first = False
_plain_additions = 0
_written: set[tuple[Any, Any]] = set()  # (thread, element) of arrays that are arguments
_readers: set[Any] = set()  # threads that read shared memory


class PlainWrite(Exception):
    """A thread writes to what all blocks add to, and not by an atomic operation."""


def as_array(value: Any, atomic_only: bool = False) -> Any:
    """A tensor as numba takes it: by its memory on a GPU, watched in the simulator."""
    if not isinstance(value, Tensor):
        return value
    if environment.on_gpu():
        from numba import cuda

        return cuda.as_cuda_array(value)
    return _watched(value.numpy(), atomic_only)


def begin() -> None:
    """Forgets what was recorded of the launch before."""
    global _plain_additions
    _plain_additions = 0
    _written.clear()
    _readers.clear()


def _watched(array: np.ndarray, atomic_only: bool = False, shared: bool = False) -> Any:
    from numba.cuda.simulator import kernelapi
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    locks = [lock for name, lock in vars(kernelapi).items() if name.endswith("lock")]

    class Watched(FakeCUDAArray):
        """Refuses indices that a GPU would not wrap around, and waits after a read."""

        def __getitem__(self, index: Any) -> Any:
            _refuse_negative(index, self._ary.shape)
            result = super().__getitem__(index)
            if shared:
                _readers.add(_number())
            _wait()
            return result

        def __setitem__(self, index: Any, value: Any) -> None:
            _refuse_negative(index, self._ary.shape)
            if atomic_only and not any(lock.locked() for lock in locks):
                raise PlainWrite
            _note_plain_write(value, locks)
            if not shared:
                element = index if isinstance(index, tuple) else (index,)
                _written.add((_number(), tuple(map(str, element))))
            _wait()
            super().__setitem__(index, value)

    return Watched(array)


def plain_additions() -> int:
    """How often the last launch wrote something but 0 without an atomic operation."""
    return _plain_additions


def written() -> tuple[int, int]:
    """The most elements that a thread of the last launch wrote, and the most threads that wrote one
    element; zeros on a GPU, where nothing is counted. For kernels with one output."""
    threads, elements = (Counter(pair[side] for pair in _written) for side in (0, 1))
    return max(threads.values(), default=0), max(elements.values(), default=0)


def readers() -> int | None:
    """How many threads of the last launch read shared memory; None on a GPU."""
    return None if environment.on_gpu() else len(_readers)


def _number() -> Any:
    thread: Any = threading.current_thread()
    return (tuple(thread.blockIdx), thread.thread_id) if hasattr(thread, "thread_id") else None


def _note_plain_write(value: Any, locks: list[Any]) -> None:
    global _plain_additions
    if _waiting and value != 0 and not any(lock.locked() for lock in locks):
        _plain_additions += 1


def _refuse_negative(index: Any, shape: tuple[int, ...]) -> None:
    for axis, one in enumerate(index if isinstance(index, tuple) else (index,)):
        if isinstance(one, int | np.integer) and one < 0:
            raise IndexError(
                f"index {one} is out of bounds for axis {axis} with size {shape[axis]}"
            )


def _wait() -> None:
    thread: Any = threading.current_thread()
    if _waiting and hasattr(thread, "thread_id"):
        number = thread.thread_id
        time.sleep(_WAIT * max(0, 64 - number if _slow_first else number))


_waiting = False


@contextlib.contextmanager
def bad_order(slow_first: bool) -> Iterator[None]:
    """Threads of high numbers are slow, or those of low ones; shared memory begins as garbage.

    On a GPU, which has an order of its own, nothing changes.
    """
    global _slow_first, _waiting
    if environment.on_gpu():
        yield
        return
    from numba.cuda.simulator.kernelapi import FakeCUDAShared

    before, interval = FakeCUDAShared.array, sys.getswitchinterval()
    # The simulator waits for its threads in a loop, which must not keep them from running.
    sys.setswitchinterval(1e-4)
    _slow_first, _waiting = slow_first, True
    FakeCUDAShared.array = _shared_array
    try:
        yield
    finally:
        _waiting = False
        FakeCUDAShared.array = before
        sys.setswitchinterval(interval)


def _shared_array(self: Any, shape: Any, dtype: Any, alignment: int | None = None) -> Any:
    """One array per line of the kernel and per block."""
    from numba.cuda import types
    from numba.cuda.np import numpy_support

    caller = sys._getframe(1)
    thread: Any = threading.current_thread()
    key = (caller.f_code.co_filename, caller.f_lineno, tuple(thread.blockIdx))
    found = self._allocations.get(key)
    if found is None:
        real = numpy_support.as_dtype(dtype) if isinstance(dtype, types.Type) else np.dtype(dtype)
        fill = GARBAGE if real.kind == "f" else np.iinfo(real).max // 8
        # Threads come here at once; the first one's array is everyone's.
        found = self._allocations.setdefault(key, _watched(np.full(shape, fill, real), shared=True))
    return found
