"""What runs an exported file: one class for each kind of file, behind one callable."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from inference.manifest import ArtifactFile


class Runtime(ABC):
    """Maps float32 inputs (B, ...) to float32 outputs (B, ...).

    A call converts, runs and converts back; the three steps are there one by one for benchmarks.
    Several threads may call one runtime.
    """

    format: str
    device: str

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return self.to_numpy(self.run(self.to_native(inputs)))

    @abstractmethod
    def to_native(self, inputs: np.ndarray) -> Any:
        """The inputs as the library takes them, on its device."""

    @abstractmethod
    def run(self, inputs: Any) -> Any:
        """The library's own call."""

    @abstractmethod
    def to_numpy(self, outputs: Any) -> np.ndarray:
        """The outputs on the host."""


class OnnxRuntime(Runtime):
    """ONNX Runtime; torch is not imported.

    Args:
        file: an ``onnx`` or ``onnx-int8`` file.
        device: ``cpu`` or ``cuda``; the latter needs the onnxruntime-gpu package.
        threads: threads inside an operation, None for all cores.

    Raises:
        ValueError: onnxruntime is missing, or has no support for the device.
    """

    def __init__(self, file: ArtifactFile, device: str, threads: int | None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError(
                f"{file.format} needs onnxruntime: pip install 'gpu-learning[export]'"
            ) from error
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[device]
        # Without this check onnxruntime would run on the CPU and print a warning.
        if provider not in onnxruntime.get_available_providers():
            raise ValueError(
                f"this onnxruntime has no {provider}; pip install onnxruntime-gpu, or use "
                "--device cpu"
            )
        options = onnxruntime.SessionOptions()
        if threads:
            options.intra_op_num_threads = threads
        self.format = file.format
        self.device = device
        self._session = onnxruntime.InferenceSession(file.read(), options, providers=[provider])
        self._input = self._session.get_inputs()[0].name

    def to_native(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        return {self._input: np.ascontiguousarray(inputs, dtype=np.float32)}

    def run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        return self._session.run(None, inputs)[0]

    def to_numpy(self, outputs: np.ndarray) -> np.ndarray:
        return outputs
