"""Step 33: the loss of a language model's output layer, a few rows of logits at a time."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course.kernels import environment
from course.kernels.measure import gpu_ms
from course.kernels.memory import MemoryCount
from course.runner import Run

POSITIONS, WIDTH, VOCABULARY, ROWS = 32, 4, 320, 8
ON_GPU = ("time / torch.compile", "peak memory / torch.compile")


def with_logits(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The same loss with all logits."""
    return F.cross_entropy((hidden @ weight.T).float(), targets)


def cross_entropy(run: Run) -> dict[str, Any]:
    """Loss and gradients both ways, and the largest tensor; on a GPU time and memory of GPT-2's."""
    from course.kernels.cross_entropy import LinearCrossEntropy

    print(environment.where())
    device = "cuda" if environment.on_gpu() else "cpu"
    torch.manual_seed(33)
    hidden = torch.randn(POSITIONS, WIDTH, device=device, requires_grad=True)
    weight = torch.randn(VOCABULARY, WIDTH, device=device, requires_grad=True)
    targets = torch.randint(0, VOCABULARY, (POSITIONS,), device=device)
    targets[::5] = -100  # positions that do not count, as in answers of step 24
    results, largest = [], []
    for loss_of in (
        lambda: LinearCrossEntropy.apply(hidden, weight, targets, ROWS),
        lambda: with_logits(hidden, weight, targets),
    ):
        with MemoryCount() as count:
            loss = loss_of()
            results.append((loss, *torch.autograd.grad(loss, (hidden, weight))))
        largest.append(count.largest)
    print(f"largest tensor: {largest[0]}, with all logits {largest[1]}")
    differences = [(one - other).abs().max().item() for one, other in zip(*results, strict=True)]
    names = ("loss", "gradient of the hidden vectors", "gradient of the weight")
    values: dict[str, Any] = {
        f"{name}, largest difference": value for name, value in zip(names, differences, strict=True)
    }
    sizes = [torch.Size(shape).numel() for shape in largest]
    values["largest tensor, all logits / a chunk of them"] = sizes[1] / sizes[0]
    if environment.on_gpu():
        return values | dict(zip(ON_GPU, _as_gpt2(), strict=True))
    for name in ON_GPU:
        run.skip(name, "needs a CUDA GPU")
    return values


def _as_gpt2() -> tuple[float, float]:
    """Time and memory of loss and gradients at 8192 positions, against torch.compile."""
    from course.kernels.cross_entropy import LinearCrossEntropy

    shapes = {"device": "cuda", "dtype": torch.bfloat16, "requires_grad": True}
    hidden, weight = torch.randn(8192, 768, **shapes), torch.randn(50257, 768, **shapes)
    targets = torch.randint(0, 50257, (8192,), device="cuda")
    compiled = torch.compile(with_logits)

    def ours() -> None:
        loss = LinearCrossEntropy.apply(hidden, weight, targets)
        torch.autograd.grad(loss, (hidden, weight))

    def theirs() -> None:
        torch.autograd.grad(compiled(hidden, weight, targets), (hidden, weight))

    times, peaks = zip(
        *((gpu_ms(run, repeat=20), _peak(run)) for run in (ours, theirs)), strict=True
    )
    print(f"loss and gradients: {times[0]}, torch.compile {times[1]}")
    print(f"peak: {peaks[0] / 2**20:,.0f} MiB, torch.compile {peaks[1] / 2**20:,.0f} MiB")
    return times[0].median / times[1].median, peaks[0] / peaks[1]


def _peak(function: Callable[[], None]) -> int:
    """Bytes that a function needs beyond what is there before it."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
