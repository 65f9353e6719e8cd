"""ExecuTorch files (``.pte``): a small C++ runtime, here through its Python binding."""

import threading
import warnings

import numpy as np
import torch
from torch import Tensor

from inference.manifest import ArtifactFile
from inference.runtimes.runtime import Runtime


class ExecutorchRuntime(Runtime):
    """Runs ``executorch`` and ``executorch-int8`` files, one row after the other.

    The batch of such a file is fixed when it is written, to the manifest's ``batch``.

    Args:
        file: the file.
        device: ``cpu``.
        threads: threads of ExecuTorch's pool, for the whole process; None leaves them.

    Raises:
        ValueError: executorch is missing, too old or new for this torch, or the device is no CPU.
    """

    def __init__(self, file: ArtifactFile, device: str, threads: int | None) -> None:
        if device != "cpu":
            raise ValueError(f"{file.format} files run on the CPU; use --device cpu")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns that its interface is experimental
                import executorch.extension.pybindings.portable_lib as pool  # type: ignore[reportMissingImports]
                from executorch.runtime import Runtime as Executorch  # type: ignore[reportMissingImports]
        except (ImportError, OSError) as error:
            raise ValueError(
                f"{file.format} needs an executorch that fits torch {torch.__version__}: make "
                f"setup EXTRAS=dev,export,executorch ({error})"
            ) from error
        if threads:
            pool._unsafe_reset_threadpool(threads)  # unsafe while something runs
        self.format = file.format
        self.device = device
        self._batch = file.batch or 1
        self._lock = threading.Lock()  # a method has one set of inputs and outputs
        try:
            # The program has to live as long as its method.
            self._program = Executorch.get().load_program(file.read())
            method = self._program.load_method("forward")
        except RuntimeError as error:
            raise ValueError(
                f"this executorch cannot load {file.path}: {error}; export the model again here"
            ) from error
        assert method is not None
        self._method = method

    def to_native(self, inputs: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))

    def run(self, inputs: Tensor) -> Tensor:
        if len(inputs) % self._batch:
            raise ValueError(f"{self.format} runs batches of {self._batch}, got {len(inputs)}")
        with self._lock:
            if len(inputs) == self._batch:
                return self._method.execute([inputs])[0]
            return torch.cat(
                [self._method.execute([part])[0] for part in inputs.split(self._batch)]
            )

    def to_numpy(self, outputs: Tensor) -> np.ndarray:
        return outputs.numpy()
