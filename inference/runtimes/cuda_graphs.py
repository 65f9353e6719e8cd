"""Small batches on a GPU: the whole net as one launch."""

import threading

import numpy as np
import torch
from torch import Tensor

from inference.cuda_graph import capture
from inference.runtimes.runtime import Runtime
from inference.runtimes.torch_runtime import TorchRuntime


class CudaGraphs(Runtime):
    """Replays a captured CUDA graph for the batch sizes that were asked for.

    At batch 1 a small net is all launch overhead: each kernel costs the host more than the GPU.
    A graph launches all of them at once. The copies of the input from pinned host memory and of
    the output back are part of a second graph, so that a call with NumPy arrays is one launch, too.
    Other batch sizes run as before.

    Args:
        runtime: what is captured, on ``cuda``.
        shape: shape of one input, without the batch.
        sizes: batch sizes to capture.
    """

    def __init__(
        self, runtime: TorchRuntime, shape: tuple[int, ...], sizes: tuple[int, ...] = (1,)
    ) -> None:
        self.format = runtime.format
        self.device = runtime.device
        self._runtime = runtime
        self._lock = threading.Lock()
        self._graphs = {size: _Captured(runtime, (size, *shape)) for size in sizes}

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        with self._lock:
            if captured := self._graphs.get(len(inputs)):
                return captured.from_host(inputs)
            return self._runtime(inputs)

    def to_native(self, inputs: np.ndarray) -> Tensor:
        return self._runtime.to_native(inputs)

    def run(self, inputs: Tensor) -> Tensor:
        """Outputs on the GPU; the next call of the same batch size overwrites them."""
        if captured := self._graphs.get(len(inputs)):
            return captured.from_device(inputs)
        return self._runtime.run(inputs)

    def to_numpy(self, outputs: Tensor) -> np.ndarray:
        return self._runtime.to_numpy(outputs)


class _Captured:
    """The graphs of one batch size: device to device, and host to host."""

    def __init__(self, runtime: TorchRuntime, shape: tuple[int, ...]) -> None:
        self._device_input = torch.zeros(shape, device="cuda")
        self._host_input = torch.zeros(shape, pin_memory=True)
        self._host_array = self._host_input.numpy()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side), torch.no_grad():
            for _ in range(3):  # kernels are loaded and chosen before the capture
                output = runtime.run(self._device_input)
        torch.cuda.current_stream().wait_stream(side)
        self._host_output = torch.zeros(output.shape, pin_memory=True)
        self._host_result = self._host_output.numpy()
        self._on_device = torch.cuda.CUDAGraph()
        with torch.no_grad(), capture(self._on_device):
            self._device_output = runtime.run(self._device_input)
        self._on_host = torch.cuda.CUDAGraph()
        with torch.no_grad(), capture(self._on_host):
            self._device_input.copy_(self._host_input, non_blocking=True)
            self._host_output.copy_(runtime.run(self._device_input), non_blocking=True)

    def from_device(self, inputs: Tensor) -> Tensor:
        self._device_input.copy_(inputs)
        self._on_device.replay()
        return self._device_output

    def from_host(self, inputs: np.ndarray) -> np.ndarray:
        self._host_array[...] = inputs
        self._on_host.replay()
        torch.cuda.current_stream().synchronize()
        return self._host_result.copy()
