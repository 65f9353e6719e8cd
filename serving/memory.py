"""Memory that is free goes back to the system, and the collector leaves alone what stays."""

import ctypes
import gc

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of malloc.h


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
    """Has glibc return blocks of a megabyte and more when they are freed.

    Left alone it keeps up to 64 MB for each thread that once held a large request, and has an arena
    for each thread: a machine with 32 cores decodes pictures in as many.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_ARENA_MAX, 8)
        mallopt(_MMAP_THRESHOLD, 1 << 20)
        mallopt(_TRIM_THRESHOLD, 4 << 20)
