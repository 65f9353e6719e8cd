"""Matrix multiplication in Triton, tile by tile, on tensor cores where there are some."""

import torch
import triton
import triton.language as tl
from torch import Tensor

PRECISIONS = ("ieee", "tf32", "tf32x3")


@triton.jit
def matmul_kernel(
    a_ptr,
    b_ptr,
    c_ptr,
    M,
    N,
    K,
    a_row,
    a_column,
    b_row,
    b_column,
    c_row,
    c_column,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
):
    """One tile (BLOCK_M, BLOCK_N) of c = a @ b."""
    tile_m, tile_n = tile_of(tl.program_id(0), M, N, BLOCK_M, BLOCK_N, GROUP)
    rows = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    # Rows beyond the matrix read others, which nobody stores: a mask in the loop costs time.
    a = a_ptr + (rows % M).to(tl.int64)[:, None] * a_row + inner[None, :] * a_column
    b = b_ptr + inner[:, None] * b_row + (columns % N).to(tl.int64)[None, :] * b_column
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)  # whatever the type of a and b
    for start in range(0, K, BLOCK_K):
        left = inner < K - start
        a_tile = tl.load(a, mask=left[None, :], other=0.0)
        b_tile = tl.load(b, mask=left[:, None], other=0.0)
        total = tl.dot(a_tile, b_tile, total, input_precision=PRECISION)
        a += BLOCK_K * a_column
        b += BLOCK_K * b_row
    c = c_ptr + rows.to(tl.int64)[:, None] * c_row + columns[None, :] * c_column
    tl.store(c, total, mask=(rows[:, None] < M) & (columns[None, :] < N))


@triton.jit
def tile_of(program, M, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP: tl.constexpr):
    """The tile of a program: down GROUP rows of tiles, then one to the right.

    Programs that run at the same time so share the tiles of a and b in the L2 cache.
    """
    tiles_m, tiles_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    group = program // (GROUP * tiles_n)
    first = group * GROUP
    height = min(tiles_m - first, GROUP)
    within = program % (GROUP * tiles_n)
    return first + within % height, within // height


def _config(m: int, n: int, k: int, stages: int, warps: int) -> triton.Config:
    sizes = {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "GROUP": 8}
    return triton.Config(sizes, num_stages=stages, num_warps=warps)


# Each is compiled and timed once for a shape and a type, on the GPU that is there. A config that
# needs more shared memory than it has drops out by itself.
CONFIGS = [
    _config(128, 256, 64, 3, 8),
    _config(128, 256, 64, 4, 8),
    _config(256, 128, 64, 3, 8),
    _config(128, 128, 64, 4, 8),
    _config(128, 128, 64, 4, 4),
    _config(128, 128, 32, 4, 8),
    _config(128, 64, 64, 4, 4),
    _config(64, 128, 32, 4, 4),
    _config(64, 64, 32, 4, 4),
    _config(32, 32, 32, 3, 2),
]
IEEE_TILE = 64 * 64  # elements


def worth_compiling(configs: list[triton.Config], arguments: dict, **_) -> list[triton.Config]:
    """Those that are to be compiled and timed for these matrices.

    IEEE float32 is multiplied outside of the tensor cores, every product an instruction of its own:
    a large tile takes minutes to compile. Of tiles larger than the matrix, only the smallest.
    """
    kept = configs
    if arguments["a_ptr"].dtype == torch.float32 and arguments["PRECISION"] == "ieee":
        kept = [config for config in kept if _tile(config) <= IEEE_TILE]
    size = max(arguments["M"] * arguments["N"], min(map(_tile, kept)))
    return [config for config in kept if _tile(config) <= size]


def _tile(config: triton.Config) -> int:
    return config.kwargs["BLOCK_M"] * config.kwargs["BLOCK_N"]


tuned_kernel = triton.autotune(
    configs=CONFIGS,
    key=["M", "N", "K", "PRECISION"],
    prune_configs_by={"early_config_prune": worth_compiling},
)(matmul_kernel)


def matmul(a: Tensor, b: Tensor, precision: str = "ieee") -> Tensor:
    """a (M, K) @ b (K, N), summed in float32, in the type of a.

    Args:
        a, b: matrices of one type, with any strides.
        precision: how float32 is multiplied: ``ieee``, ``tf32`` (10 bits of the mantissa, on
            tensor cores) or ``tf32x3`` (three products in TF32 for one); others are not touched.

    Raises:
        ValueError: shapes or types that do not fit.
    """
    if a.shape[1] != b.shape[0] or a.dtype != b.dtype:
        raise ValueError(
            f"cannot multiply {tuple(a.shape)} {a.dtype} by {tuple(b.shape)} {b.dtype}; the "
            "columns of the first must be as many as the rows of the second, of one type"
        )
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    (m, k), n = a.shape, b.shape[1]
    c = torch.empty(m, n, dtype=a.dtype, device=a.device)
    arguments = (a, b, c, m, n, k, *a.stride(), *b.stride(), *c.stride(), precision)

    def grid(sizes: dict) -> tuple[int]:
        return (triton.cdiv(m, sizes["BLOCK_M"]) * triton.cdiv(n, sizes["BLOCK_N"]),)

    if a.device.type == "cuda":
        tuned_kernel[grid](*arguments)
    else:  # the interpreter has nothing to tune
        matmul_kernel[grid](*arguments, BLOCK_M=16, BLOCK_N=32, BLOCK_K=16, GROUP=2)
    return c
