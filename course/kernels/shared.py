"""Kernels whose threads work together, in numba-cuda."""

from numba import cuda, float32

THREADS = 64


@cuda.jit
def sum_by_blocks(x, out):
    """Adds all elements to out[0]: a tree in shared memory, one atomic addition per block."""
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
        cuda.atomic.add(out, 0, shared[0])


@cuda.jit
def sum_by_elements(x, out):
    """Adds all elements to out[0]: one atomic addition per element."""
    i = cuda.grid(1)
    if i < x.size:
        cuda.atomic.add(out, 0, x[i])


@cuda.jit
def add_one_lossy(out):
    """Each thread adds 1 to out[0]: all of them read before one writes."""
    before = out[0]
    cuda.syncthreads()
    out[0] = before + 1


@cuda.jit
def add_one_atomic(out):
    """Each thread adds 1 to out[0]."""
    cuda.atomic.add(out, 0, 1)
