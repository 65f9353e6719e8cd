"""Exported files that torch runs: TorchScript, torch.export programs, state dicts."""

import io
import logging
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inference.manifest import ArtifactFile
from inference.runtimes.compiled import compiled
from inference.runtimes.program_archive import checked_program
from inference.runtimes.runtime import Runtime, first_line
from inference.runtimes.state_dict import plain_net, read_state_dict


class TorchRuntime(Runtime):
    """Runs ``torchscript``, ``int8``, ``pt2``, ``pt2-fp16`` and ``pth`` files.

    Args:
        file: the file.
        device: ``cpu`` or ``cuda``.
        threads: torch's threads inside an operation, for the whole process; None leaves them.
        compile: put a ``pt2`` or ``pt2-fp16`` file through torch.compile (:func:`compiled`).
        normalization: mean and standard deviation that the inputs are normalized with; undone for
            a ``pth`` file, whose weights take pixels in [0, 1].

    Raises:
        ValueError: the file is not for this device, or this torch cannot load it.
    """

    def __init__(
        self,
        file: ArtifactFile,
        device: str,
        threads: int | None,
        compile: bool = False,
        normalization: tuple[float | None, float | None] = (None, None),
    ) -> None:
        if file.device not in ("any", device):
            raise ValueError(
                f"the {file.format} file was exported for {file.device}, not for {device}; export "
                f"again with --device {device}"
            )
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("torch sees no CUDA GPU; use --device cpu")
        if threads:
            torch.set_num_threads(threads)
        self.format = file.format
        self.device = device
        content = io.BytesIO(file.read())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch.jit says on every call that it is old
                self.module = _LOADERS[file.format](content, device)
        except Exception as error:  # a file of another kind makes the loaders raise many kinds
            raise ValueError(
                f"torch {torch.__version__} cannot load {file.path} on {device}: "
                f"{first_line(error)}; export the model again here"
            ) from error
        mean, std = normalization
        if file.format == "pth" and mean is not None and std is not None:
            self.module = _FromNormalized(self.module, mean, std)
        elif compile:
            self.module = compiled(self.module)

    def to_native(self, inputs: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32)).to(self.device)

    def run(self, inputs: Tensor) -> Tensor:
        return self.module(inputs)

    def to_numpy(self, outputs: Tensor) -> np.ndarray:
        return outputs.float().cpu().numpy()


class _FromNormalized(nn.Module):
    """A net of pixels in [0, 1] behind inputs that are normalized."""

    def __init__(self, net: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.net = net
        self.mean = mean
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x * self.std + self.mean)


def _torchscript(content: io.BytesIO, device: str) -> Any:
    return torch.jit.load(content, map_location=device)


def _program(content: io.BytesIO, device: str) -> Any:
    logger = logging.getLogger("torch.export")  # it logs the traceback of what it then raises
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            # Of torch 2.11, about weights that it reads from the archive and nothing writes to.
            warnings.filterwarnings("ignore", message="The given buffer is not writable")
            program = torch.export.load(checked_program(content.getvalue()))
    finally:
        logger.disabled = False
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    # Without parameters that want a gradient nothing is recorded, at no cost for a context.
    return program.module().requires_grad_(False)


def _state_dict(content: io.BytesIO, device: str) -> Any:
    return plain_net(read_state_dict(content.getvalue())).to(device)


_LOADERS = {
    "pth": _state_dict,
    "torchscript": _torchscript,
    "int8": _torchscript,
    "pt2": _program,
    "pt2-fp16": _program,
}
