"""Kernels with one thread per element, in numba-cuda."""

from numba import cuda


@cuda.jit
def axpy(a, x, y, out, n):
    """out[i] = a * x[i] + y[i] for the first n elements."""
    i = cuda.grid(1)
    if i < n:
        out[i] = a * x[i] + y[i]


@cuda.jit
def axpy_unchecked(a, x, y, out):
    """The same for as many elements as there are threads."""
    i = cuda.grid(1)
    out[i] = a * x[i] + y[i]


@cuda.jit
def owners(out):
    """out[row, col] = the number of the block whose thread wrote it."""
    col, row = cuda.grid(2)
    if row < out.shape[0] and col < out.shape[1]:
        out[row, col] = cuda.blockIdx.y * cuda.gridDim.x + cuda.blockIdx.x
