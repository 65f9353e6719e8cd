"""Step 32: a tiled matrix product in Triton, its precisions, and its speed against cuBLAS."""

from typing import Any

import torch
from torch import Tensor

from course.kernels import environment
from course.kernels.measure import gpu_ms
from course.runner import Run

SIZE = 4096  # of the timed product
ON_GPU = (
    "TF32, relative error",
    "TF32 in three products, relative error",
    "bfloat16, relative error",
    "bfloat16 at 4096, speed / cuBLAS",
)


def loads(m: int, n: int, k: int, block_m: int, block_n: int) -> int:
    """Elements of a (m, k) and b (k, n) that are loaded for a @ b in tiles of the result."""
    tiles_m, tiles_n = -(-m // block_m), -(-n // block_n)
    return tiles_m * tiles_n * (block_m + block_n) * k


def sum_in_float16(a: Tensor, b: Tensor) -> Tensor:
    """a @ b, each partial sum rounded to float16."""
    total = torch.zeros(len(a), b.shape[1], dtype=torch.float16, device=a.device)
    for column, row in zip(a.unbind(1), b.unbind(0), strict=True):
        total = total + column[:, None] * row[None, :]
    return total


def matrix_product(run: Run) -> dict[str, Any]:
    """The kernel against torch, float16 sums, loads by tile size; precisions and speed on a GPU."""
    from course.kernels.matmul import matmul

    print(environment.where())
    device = "cuda" if environment.on_gpu() else "cpu"
    torch.manual_seed(32)
    a, b = torch.randn(50, 70, device=device), torch.randn(70, 33, device=device)
    print("loads of a product of 4096, by size of the tile:")
    for block in (1, 16, 32, 64, 128):
        print(f"  {block:>3} x {block:<3} {loads(SIZE, SIZE, SIZE, block, block):>18,}")
    # All positive, so that the partial sums grow.
    x, y = (torch.rand(shape, device=device) for shape in ((16, 4096), (4096, 16)))
    x, y = x.half(), y.half()
    exact = x.double() @ y.double()
    values: dict[str, Any] = {
        "float32, largest difference": (matmul(a, b) - a @ b).abs().max().item(),
        "transposed, largest difference": (matmul(b.T, a.T) - b.T @ a.T).abs().max().item(),
        "float16, relative error": _error(matmul(x, y), exact),
        "float16 with float16 sums, relative error": _error(sum_in_float16(x, y), exact),
        "loads, 1 x 1 / tiles of 128 x 128": (
            loads(SIZE, SIZE, SIZE, 1, 1) / loads(SIZE, SIZE, SIZE, 128, 128)
        ),
    }
    if environment.on_gpu():
        return values | dict(zip(ON_GPU, _on_gpu(), strict=True))
    for name in ON_GPU:
        run.skip(name, "needs a CUDA GPU")
    return values


def _error(got: Tensor, exact: Tensor) -> float:
    """Of the whole matrix, as a share of its norm."""
    return ((got.double() - exact).norm() / exact.norm()).item()


def _on_gpu() -> list[float]:
    from course.kernels.matmul import matmul, tuned_kernel

    a, b = (torch.randn(SIZE, SIZE, device="cuda") for _ in range(2))
    exact = a.double() @ b.double()
    errors = [_error(matmul(a, b, precision), exact) for precision in ("tf32", "tf32x3")]
    x, y = a.bfloat16(), b.bfloat16()
    errors.append(_error(matmul(x, y), x.double() @ y.double()))
    ours, theirs = gpu_ms(lambda: matmul(x, y)), gpu_ms(lambda: x @ y)
    print(f"bfloat16: {ours}, cuBLAS {theirs}; {2 * SIZE**3 / ours.median / 1e9:.0f} TFLOP/s")
    print(f"chosen: {tuned_kernel.best_config}")
    return [*errors, theirs.median / ours.median]
