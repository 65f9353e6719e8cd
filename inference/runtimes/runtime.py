"""What runs an exported file: one class for each kind of file, behind one callable."""

import os
import threading
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


# Rows a thread that are run at once: on one core 256 images of the MNIST CNN in pieces of 32 took
# 3.5 ms, at once 4.6 ms, because what lies between two layers stays in the cache.
_PIECE = 32


# The key of a tensor's place in another file, as protobuf writes it.
_EXTERNAL = b"\n\x08location"


def onnx_session(file: ArtifactFile, options: Any, provider: str) -> Any:
    """An ``onnxruntime.InferenceSession`` of an ONNX file that holds its own weights.

    Raises:
        ValueError: the file is damaged, not an ONNX file, or has weights in other files, which
            onnxruntime would look for in the working folder.
    """
    import onnxruntime

    content = file.read()
    if _EXTERNAL in content:
        raise ValueError(
            f"{file.path} has weights in other files, which no checksum covers; export the model "
            "again"
        )
    # Nothing lies below a file, however the key was written.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(file.path)
    )
    options.log_severity_level = 4  # its errors are raised as well
    try:
        return onnxruntime.InferenceSession(content, options, providers=[provider])
    except Exception as error:  # onnxruntime has a dozen kinds
        raise ValueError(
            f"onnxruntime {onnxruntime.__version__} cannot load {file.path}: {first_line(error)}; "
            "export the model again"
        ) from error


def first_line(error: Exception) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


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
                f"{file.format} needs onnxruntime: make setup EXTRAS=dev,export"
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
        self._piece = _PIECE * (threads or os.cpu_count() or 1)
        self._session = onnx_session(file, options, provider)
        self._input = self._session.get_inputs()[0].name
        self._outputs = [self._session.get_outputs()[0].name]
        self._own = threading.local()  # a thread's own buffers for single rows

    def to_native(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        return {self._input: np.ascontiguousarray(inputs, dtype=np.float32)}

    def run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        rows = inputs[self._input]
        if self.device != "cpu":
            return self._session.run(self._outputs, inputs)[0]  # type: ignore[return-value]
        if len(rows) == 1:
            single = getattr(self._own, "single", None)
            if single is None or single.shape != rows.shape:
                single = self._own.single = _Single(self._session, inputs)
            return single(rows)
        if len(rows) <= self._piece:
            return self._session.run(self._outputs, inputs)[0]  # type: ignore[return-value]
        pieces = range(0, len(rows), self._piece)
        return np.concatenate(
            [self.run({self._input: rows[start : start + self._piece]}) for start in pieces]
        )

    def to_numpy(self, outputs: np.ndarray) -> np.ndarray:
        return outputs


class _Single:
    """One row through buffers that a session knows already.

    ``run`` makes an output and wraps the input at each call. For the MNIST CNN at batch 1 that is a
    tenth of the time (22.1 instead of 24.8 us on one core); the copies here cost 0.5 us of it.
    """

    def __init__(self, session: Any, inputs: dict[str, np.ndarray]) -> None:
        ((name, row),) = inputs.items()
        output = session.get_outputs()[0].name
        self.shape = row.shape
        self._session = session
        self._input = row.copy()
        self._output = np.empty_like(session.run([output], inputs)[0])
        self._binding = session.io_binding()
        for bind, key, array in (
            (self._binding.bind_input, name, self._input),
            (self._binding.bind_output, output, self._output),
        ):
            bind(key, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def __call__(self, row: np.ndarray) -> np.ndarray:
        self._input[...] = row
        self._session.run_with_iobinding(self._binding)
        return self._output.copy()
