"""Programs of torch.export: in float32, and in half precision for a GPU."""

import copy
import io
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


def write_pt2_fp16(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """Half precision and channels last inside, float32 at both ends: half the memory traffic."""
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
