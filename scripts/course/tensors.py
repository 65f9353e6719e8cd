"""Steps 4 to 6: tensors, devices and a first net."""

import time
from typing import Any

import torch
from matplotlib.figure import Figure

from lightning_modules.nets import MLP
from scripts.course.runner import Run

SIZES = (64, 128, 256, 512, 1024)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def tensors(run: Run) -> dict[str, Any]:
    """Shapes, arithmetic, products and reductions."""
    shapes = [torch.tensor(7), torch.tensor([1, 2, 3]), torch.ones(2, 3), torch.ones(2, 3, 4)]
    for tensor in shapes:
        print(f"{tensor.ndim}-D, shape {tuple(tensor.shape)}, {tensor.numel()} values")
    a, b = torch.tensor([1.0, 2, 3]), torch.tensor([4.0, 5, 6])
    print(f"a + b = {(a + b).tolist()}, a * b = {(a * b).tolist()}")
    left, right = torch.tensor([[1, 2], [3, 4]]), torch.tensor([[5, 6], [7, 8]])
    values = torch.arange(1.0, 6)
    return {
        "dimensions": [tensor.ndim for tensor in shapes],
        "a + b": (a + b).tolist(),
        "matrix product": (left @ right).tolist(),
        "sum": values.sum().item(),
        "mean": values.mean().item(),
    }


def devices(run: Run) -> dict[str, Any]:
    """The same arithmetic on the device, what happens across devices, and what a GPU is for."""
    on = device()
    a, b = torch.tensor([1.0, 2, 3], device=on), torch.tensor([4.0, 5, 6], device=on)
    # Without a GPU, torch's "meta" device (shapes without values) is the second one.
    other = torch.ones(3, device="cpu" if on.type == "cuda" else "meta")
    try:
        a + other
        message = ""
    except RuntimeError as error:
        message = str(error)
    print(f"{on} + {other.device}: {message}")
    print("Both operands must be where the work is done; move one with tensor.to(device).")
    seconds = {"cpu": [matmul_seconds(size, torch.device("cpu")) for size in SIZES]}
    values: dict[str, Any] = {
        "dot product on the device": (a @ b).item(),
        "error for two devices": "device" in message and other.device.type in message,
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
        left @ right
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


def first_network(run: Run) -> dict[str, Any]:
    """3 inputs, 8 hidden values, 1 output."""
    net = MLP([3, 8, 1])
    print(net)
    output = net(torch.randn(5, 3))
    return {
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "output shape": list(output.shape),
    }
