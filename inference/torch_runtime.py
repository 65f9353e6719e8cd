"""Exported files that torch runs: TorchScript, torch.export programs, AOTInductor packages."""

import io
import logging
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.compiled import compiled
from inference.manifest import ArtifactFile
from inference.program_archive import checked_program
from inference.runtime import Runtime, first_line


class TorchRuntime(Runtime):
    """Runs ``torchscript``, ``int8``, ``pt2``, ``pt2-fp16``, ``aoti`` and ``aoti-fp16`` files.

    ``aoti`` files hold native code that was compiled for one kind of processor and one torch.

    Args:
        file: the file.
        device: ``cpu`` or ``cuda``.
        threads: torch's threads inside an operation, for the whole process; None leaves them.
        compile: put a ``pt2`` or ``pt2-fp16`` file through torch.compile (:func:`compiled`).

    Raises:
        ValueError: the file is not for this device, or this torch cannot load it.
    """

    def __init__(
        self, file: ArtifactFile, device: str, threads: int | None, compile: bool = False
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
        if compile:
            self.module = compiled(self.module)

    def to_native(self, inputs: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32)).to(self.device)

    def run(self, inputs: Tensor) -> Tensor:
        return self.module(inputs)

    def to_numpy(self, outputs: Tensor) -> np.ndarray:
        return outputs.float().cpu().numpy()


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


def _aoti(content: io.BytesIO, device: str) -> Any:
    import torch._inductor

    # One caller at a time (see CudaGraphs), so that a CUDA graph can capture the run.
    return torch._inductor.aoti_load_package(content, run_single_threaded=device == "cuda")


_LOADERS = {
    "torchscript": _torchscript,
    "int8": _torchscript,
    "pt2": _program,
    "pt2-fp16": _program,
    "aoti": _aoti,
    "aoti-fp16": _aoti,
}
