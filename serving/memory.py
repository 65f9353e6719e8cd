"""Memory that is free goes back to the system, and the collector leaves alone what stays."""

import ctypes
import gc

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


def settle() -> None:
    """Collects what is gone, and keeps the collector from what stays.

    A model has hundreds of thousands of objects. To look through them takes a tenth of a second,
    in which no sequence advances. What large requests needed the C library keeps for each of its
    threads until it is told to let go of it.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if release:
        release(0)


def release_early() -> None:
    """Has glibc return large blocks when they are freed, in the arenas of all threads.

    Left alone it keeps up to 64 MB for each thread that once held a large request.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_MMAP_THRESHOLD, 4 << 20)
        mallopt(_TRIM_THRESHOLD, 16 << 20)
