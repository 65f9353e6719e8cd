"""AOTInductor: the net compiled to a shared library for the processor at hand."""

import copy
import io
import shutil
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from inference.runtimes.program_archive import checked_program


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
    if name.endswith("fp16") and device != "cuda":
        raise ValueError(f"{name} is for CUDA GPUs; use {name.removesuffix('-fp16')} on the CPU")
    if name.startswith("aoti") and not any(map(shutil.which, ("g++", "c++", "clang++"))):
        raise ValueError(
            f"{name} compiles C++ and there is no compiler; on Debian and Ubuntu: apt install g++"
        )


def write_aoti(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """float32 throughout."""
    _build(copy.deepcopy(net), example, path, device)


def write_aoti_fp16(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """Half precision inside, float32 at both ends: half the memory traffic of large batches."""
    _build(HalfInside(copy.deepcopy(net)), example, path, device)


def write_pt2_fp16(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """The same without a compiler: torch's own kernels, in half precision and channels last."""
    content = io.BytesIO()
    half = HalfInside(copy.deepcopy(net)).to(device).to(memory_format=torch.channels_last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it doubts that channels-last weights are whole
        torch.export.save(program(half, example.to(device)), content)
    path.write_bytes(checked_program(content.getvalue()).getvalue())


class HalfInside(nn.Module):
    """Runs ``net`` in float16 on float32 inputs, for float32 outputs."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.half()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.half()).float()


def _build(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    from torch._inductor import aoti_compile_and_package

    if device == "cuda":
        net = net.to(device).to(memory_format=torch.channels_last)  # what tensor cores read
        # Kernels are shaped for the batch of the example; a GPU is worth it for large ones.
        example = example.repeat(512, *[1] * (example.ndim - 1))
    graph = program(net, example.to(device))
    try:
        aoti_compile_and_package(graph, package_path=str(path))
    except Exception as error:  # the compilers behind it raise many kinds
        raise ValueError(
            f"AOTInductor could not compile {type(net).__name__} for {device}; it needs a C++ "
            "compiler, and on a GPU CUDA's header files (CUDA_HOME). It says: "
            f"{' '.join(str(error).split())[:500]}"
        ) from error
