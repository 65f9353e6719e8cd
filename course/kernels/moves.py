"""Kernels that move memory, in Triton."""

import triton
import triton.language as tl


@triton.jit
def copy(x, out, n, BLOCK: tl.constexpr):
    """out[i] = x[i]: neighboring threads have neighboring elements."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    tl.store(out + i, tl.load(x + i, mask=inside), mask=inside)


@triton.jit
def copy_apart(x, out, n, stride, BLOCK: tl.constexpr):
    """out[i] = x[i]: neighboring threads have elements that are ``stride`` apart.

    n is a multiple of ``stride``.
    """
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = k < n
    length = n // stride
    i = (k % length) * stride + k // length
    tl.store(out + i, tl.load(x + i, mask=inside), mask=inside)


@triton.jit
def transpose(x, out, rows, cols, TILE: tl.constexpr):
    """out[col, row] = x[row, col], a tile of TILE x TILE elements per program."""
    row = tl.program_id(0) * TILE + tl.arange(0, TILE)
    col = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = (row[:, None] < rows) & (col[None, :] < cols)
    tile = tl.load(x + row[:, None] * cols + col[None, :], mask=inside)
    inside = (col[:, None] < cols) & (row[None, :] < rows)
    tl.store(out + col[:, None] * rows + row[None, :], tl.trans(tile), mask=inside)


@triton.jit
def transpose_columns(x, out, rows, cols, BLOCK: tl.constexpr):
    """out[col, row] = x[row, col], a part of one column of x per program: loads are far apart."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    col = tl.program_id(1)
    inside = row < rows
    tl.store(out + col * rows + row, tl.load(x + row * cols + col, mask=inside), mask=inside)
