"""Step 31: softmax and LayerNorm as Triton kernels, a row in registers."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course.kernels import environment
from course.kernels.measure import gpu_ms
from course.kernels.memory import MemoryCount
from course.runner import Run

SHAPE = (8192, 4096)  # on a GPU
SMALL = (6, 1000)  # in the interpreter


def softmax_in_steps(x: Tensor) -> Tensor:
    """As five operations, each of which reads its arguments and writes its result."""
    largest = x.amax(dim=1, keepdim=True)
    shifted = x - largest
    exponents = shifted.exp()
    total = exponents.sum(dim=1, keepdim=True)
    return exponents / total


def row_reductions(run: Run) -> dict[str, Any]:
    """Both kernels against torch; bytes of softmax; on a GPU their times against torch.compile."""
    from course.kernels import rows

    print(environment.where())
    device = "cuda" if environment.on_gpu() else "cpu"
    torch.manual_seed(31)
    shape = SHAPE if environment.on_gpu() else SMALL
    x = torch.randn(shape, device=device)
    with MemoryCount() as steps:
        softmax_in_steps(x)
    soft = rows.softmax(x)
    bytes_of_kernel = x.nbytes + soft.nbytes
    print(f"softmax of {shape}: {steps.moved:,} bytes in five operations, {bytes_of_kernel:,} here")
    values = {
        "softmax, largest difference": _difference(soft, x.softmax(dim=1)),
        "softmax of large numbers is finite": bool(rows.softmax(x + 1000).isfinite().all()),
        "bytes of softmax, five operations / one kernel": steps.moved / bytes_of_kernel,
    }
    weight, bias, grad = (torch.randn(n, device=device) for n in (shape[1], shape[1], x.numel()))
    grad = grad.view_as(x)
    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    got = rows.LayerNormFunction.apply(*inputs, 1e-5)
    want = F.layer_norm(x, shape[1:], weight, bias)
    values["LayerNorm, largest difference"] = _difference(got, want)
    # Of sums over all rows the relative difference is what rounding leaves alike.
    values["its gradients, relative difference"] = max(
        _difference(one, other) / other.abs().max().item()
        for one, other in zip(
            torch.autograd.grad(got, inputs, grad),
            torch.autograd.grad(want, inputs, grad),
            strict=True,
        )
    )
    timed = ("softmax, time / torch.compile", "LayerNorm and gradients, time / torch.compile")
    if environment.on_gpu():
        ratios = _ratio_of_softmax(x.detach()), _ratio_of_layer_norm(inputs, grad)
        values |= dict(zip(timed, ratios, strict=True))
    else:
        for name in timed:
            run.skip(name, "needs a CUDA GPU")
    return values


def _difference(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()


def _ratio_of_softmax(x: Tensor) -> float:
    from course.kernels import rows

    compiled = torch.compile(lambda x: x.softmax(dim=1))
    ours, theirs = gpu_ms(lambda: rows.softmax(x)), gpu_ms(lambda: compiled(x))
    print(f"softmax: {ours}, torch.compile {theirs}")
    return ours.median / theirs.median


def _ratio_of_layer_norm(inputs: list[Tensor], grad: Tensor) -> float:
    """Forward and backward together, for which autograd calls both of either side."""
    from course.kernels import rows

    compiled = torch.compile(lambda x, w, b: F.layer_norm(x, x.shape[1:], w, b))

    def ours() -> None:
        torch.autograd.grad(rows.LayerNormFunction.apply(*inputs, 1e-5), inputs, grad)

    def theirs() -> None:
        torch.autograd.grad(compiled(*inputs), inputs, grad)

    mine, other = gpu_ms(ours), gpu_ms(theirs)
    print(f"LayerNorm, forward and backward: {mine}, torch.compile {other}")
    return mine.median / other.median
