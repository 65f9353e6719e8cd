"""AOTInductor: the net compiled to a shared library for the processor at hand."""

import copy
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn


def program(net: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The net's graph with a dynamic batch.

    Raises:
        ValueError: the net has control flow that torch.export cannot follow.
    """
    try:
        with torch.no_grad():
            return torch.export.export(
                net, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
            )
    except Exception as error:  # the tracer raises many kinds
        raise ValueError(
            f"torch.export cannot follow {type(net).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error


def check(name: str, device: str) -> None:
    """Refuses a build that cannot work on this machine.

    Raises:
        ValueError: no C++ compiler, or fp16 without a GPU.
    """
    if name == "aoti-fp16" and device != "cuda":
        raise ValueError("aoti-fp16 is for CUDA GPUs; use aoti on the CPU")
    if not (shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")):
        raise ValueError(
            f"{name} compiles C++ and there is no compiler; on Debian and Ubuntu: apt install g++"
        )


def write_aoti(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """float32 throughout."""
    _build(copy.deepcopy(net), example, path, device)


def write_aoti_fp16(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """Half precision inside, float32 at both ends: half the memory traffic of large batches."""
    _build(HalfInside(copy.deepcopy(net)), example, path, device)


class HalfInside(nn.Module):
    """Runs ``net`` in float16 on float32 inputs, for float32 outputs."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.half()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.half()).float()


def _build(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    from torch._inductor import aoti_compile_and_package

    net = net.to(device)
    options: dict[str, object] = {}
    if device == "cuda":
        net = net.to(memory_format=torch.channels_last)  # what tensor cores read
        options["max_autotune"] = True
    aoti_compile_and_package(
        program(net, example.to(device)), package_path=str(path), inductor_configs=options
    )
