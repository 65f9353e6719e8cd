"""Steps 4 to 6: tensors, devices and a first net."""

import inspect
import time
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn

from course.runner import Run

SIZES = (64, 128, 256, 512, 1024)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def tensors(run: Run) -> dict[str, Any]:
    """What a tensor is, arithmetic, products and reductions."""
    shapes = [
        torch.tensor(43.0),
        torch.tensor([1.0, 2, 3]),
        torch.tensor([[1.0, 2, 3], [4, 5, 6]]),
        torch.tensor([[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]]),
    ]
    for tensor in shapes:
        print(f"{tensor.ndim}-D, shape {tuple(tensor.shape)}, {tensor.dtype}, on {tensor.device}:")
        print(f"{tensor}\n")
    a, b = torch.tensor([1.0, 2, 3]), torch.tensor([4.0, 5, 6])
    left, right = torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[5.0, 6], [7, 8]])
    values = torch.arange(1.0, 6)
    results: dict[str, torch.Tensor] = {
        "a + b": a + b,
        "a - b": a - b,
        "a * b": a * b,
        "a / b": a / b,
        "matrix product": left @ right,
        "sum": values.sum(),
        "mean": values.mean(),
        "max": values.max(),
        "min": values.min(),
    }
    print(f"a = {a}, b = {b}")
    for name, result in results.items():
        print(f"{name} = {result}")
    return {
        "dtype": str(a.dtype),
        "device": str(a.device),
        "dimensions": [tensor.ndim for tensor in shapes],
        "shapes": [list(tensor.shape) for tensor in shapes],
        **{name: result.tolist() for name, result in results.items()},
    }


def devices(run: Run) -> dict[str, Any]:
    """The same arithmetic on the device, what happens across devices, and what a GPU is for."""
    on = device()
    a, b = torch.tensor([1.0, 2, 3], device=on), torch.tensor([4.0, 5, 6], device=on)
    # Without a GPU, torch's "meta" device (shapes without values) is the second one.
    other = torch.ones(3, device="cpu" if on.type == "cuda" else "meta")
    try:
        message = f"no error: {a + other}"
    except RuntimeError as error:
        message = str(error)
    print(f"{on} + {other.device}: {message}")
    print("Both operands must be where the work is done; move one with tensor.to(device).")
    total = a.to("cpu").to(on) + b
    print(f"a + b = {total}, on {total.device}")
    seconds = {"cpu": [matmul_seconds(size, torch.device("cpu")) for size in SIZES]}
    values: dict[str, Any] = {
        "a + b on the device": total.tolist(),
        "device of the sum": total.device.type == on.type,
        "dot product on the device": (a @ b).item(),
        "error for two devices": not message.startswith("no error")
        and other.device.type in message,
    }
    if on.type == "cuda":
        seconds["cuda"] = [matmul_seconds(size, on) for size in SIZES]
        values["GPU / CPU at 1024"] = seconds["cpu"][-1] / seconds["cuda"][-1]
    else:
        run.skip("GPU / CPU at 1024", "needs a GPU, and torch sees none")
    run.keep(draw_times(seconds), "matmul")
    return values


def matmul_seconds(size: int, on: torch.device, repeat: int = 5) -> float:
    """Shortest of ``repeat`` products of two (size, size) matrices, after one to warm up."""
    left, right = torch.randn(2, size, size, device=on).unbind()
    taken = []
    for _ in range(repeat + 1):
        began = time.perf_counter()
        torch.matmul(left, right)
        if on.type == "cuda":
            # A kernel is only queued when the call returns.
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return min(taken[1:])


def draw_times(seconds: dict[str, list[float]]) -> Figure:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(
        xlabel="side of the square matrices", ylabel="milliseconds a product", yscale="log"
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(SIZES, [str(size) for size in SIZES])
    for name, taken in seconds.items():
        axes.plot(SIZES, [1000 * value for value in taken], "o-", label=name)
    axes.set_title("Matrix product by size" + ("" if len(seconds) > 1 else " (no GPU here)"))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


class TwoLayers(nn.Module):
    """3 inputs, 8 hidden values, 1 output; a matrix product and a sum in each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 8)
        self.output = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.hidden(x))


def first_network(run: Run) -> dict[str, Any]:
    """A net as a class, its parameters, and what is inside its forward pass."""
    print(inspect.getsource(TwoLayers))
    net = TwoLayers().to(device())
    sample = torch.tensor([1.0, 2, 3], device=device())
    output = net(sample)
    print(f"{net}\ninput  {sample}\noutput {output}")
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    for name, parameter in net.named_parameters():
        print(f"{name:<14} {tuple(parameter.shape)!s:<7} {parameter.numel():>2} parameters")
    with torch.no_grad():
        hidden = net.hidden.weight @ sample + net.hidden.bias
        by_hand = net.output.weight @ hidden + net.output.bias
    recorded = "none" if output.grad_fn is None else output.grad_fn.name()
    print(f"grad_fn: {recorded}, where a backward pass begins; step 7 runs one")
    return {
        "parameters": sum(sizes.values()),
        "parameters of weights and biases": list(sizes.values()),
        "output shape": list(output.shape),
        "the output has a grad_fn": output.grad_fn is not None,
        "difference from two matrix products": (output - by_hand).abs().item(),
    }
