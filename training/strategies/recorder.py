"""Records functions as CUDA graphs, all on one stream and in one memory pool."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer


class Recording(NamedTuple):
    """A captured function: ``replay()`` computes ``result`` again, in the same memory."""

    replay: Callable[[], None]
    result: Any


class Recorder:
    """Captures functions as CUDA graphs. They share memory, so they must be replayed in turn.

    Source: PyTorch's notes on CUDA graphs, https://docs.pytorch.org/docs/stable/notes/cuda.html.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Runs what is not captured on the stream of the captures, where it prepares them."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            yield
        torch.cuda.current_stream().wait_stream(self._stream)

    def capture(self, function: Callable[[], Any]) -> Recording:
        """Calls ``function`` once to record what it launches; nothing is computed.

        Raises:
            ValueError: the function does something that a graph cannot hold; the message says what.
        """
        graph = torch.cuda.CUDAGraph()
        generator = torch.cuda.default_generators[self.device.index]
        generator_state = generator.clone_state()
        collecting = gc.isenabled()
        gc.disable()  # freeing another graph's memory would break the capture
        self._stream.wait_stream(torch.cuda.current_stream())
        torch.cuda.synchronize(self.device)
        try:
            with torch.cuda.stream(self._stream):
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    result = function()
                except Exception as error:
                    _abandon(graph)
                    generator.graphsafe_set_state(generator_state)
                    raise ValueError(_explain(error)) from error
                graph.capture_end()
        finally:
            if collecting:
                gc.enable()
        torch.cuda.current_stream().wait_stream(self._stream)
        return Recording(graph.replay, result)


class GraphOptimizer:
    """An optimizer whose step can be captured: its learning rates lie on the device.

    Args:
        optimizer: has taken at least one step, so that its state exists.
        device: of its parameters.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer
        self.rates = torch.zeros(len(optimizer.param_groups), device=device)
        self._settings = self._read_settings()
        for state in optimizer.state.values():
            # Optimizers that are not fused count their steps on the host.
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].to(device)

    @property
    def as_captured(self) -> bool:
        """Whether all settings but the learning rates are those of the capture."""
        return self._settings == self._read_settings()

    def _read_settings(self) -> list[dict[str, Any]]:
        groups = self.optimizer.param_groups
        left_out = ("params", "lr", "initial_lr", "max_lr", "min_lr")
        return [{k: v for k, v in group.items() if k not in left_out} for group in groups]

    def step(self, rates: Tensor) -> None:
        """One step for a capture, with learning rates (groups,) that a replay reads again."""
        groups = self.optimizer.param_groups
        before = [(group["lr"], group.get("capturable")) for group in groups]
        try:
            for group, rate, (_, capturable) in zip(groups, rates, before, strict=True):
                group["lr"] = rate
                if capturable is not None:
                    group["capturable"] = rates.device.type == "cuda"
            self.optimizer.step()
        finally:
            for group, (rate, capturable) in zip(groups, before, strict=True):
                group["lr"] = rate
                if capturable is not None:
                    group["capturable"] = capturable


@contextmanager
def rounded_rates(optimizer: Optimizer) -> Iterator[None]:
    """Learning rates as a graph reads them, in float32, for steps that are not captured."""
    groups = optimizer.param_groups
    before = [group["lr"] for group in groups]
    for group, rate in zip(groups, before, strict=True):
        if not isinstance(rate, Tensor):
            group["lr"] = torch.tensor(rate, dtype=torch.float32).item()
    try:
        yield
    finally:
        for group, rate in zip(groups, before, strict=True):
            group["lr"] = rate


class CapturedIndex:
    """Stands in for ``batch_idx`` in a capture and refuses to be read: it would never change."""


def _refuse_read(*_: Any, **__: Any) -> Any:
    raise ValueError("it reads batch_idx, which a graph would keep as it was at the capture")


for _name in (
    *("__index__", "__int__", "__float__", "__bool__", "__str__", "__format__", "__hash__"),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__neg__"),
    *("__add__", "__sub__", "__mul__", "__truediv__", "__floordiv__", "__mod__", "__pow__"),
    *("__radd__", "__rsub__", "__rmul__", "__rtruediv__", "__rfloordiv__", "__rmod__"),
):
    setattr(CapturedIndex, _name, _refuse_read)


def average_gradients(gradients: list[Tensor], world_size: int) -> None:
    """Sets the gradients of all processes to their mean, by one reduction."""
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    flat.div_(world_size)
    torch.distributed.all_reduce(flat)
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def _abandon(graph: torch.cuda.CUDAGraph) -> None:
    try:
        graph.capture_end()
    except RuntimeError:
        return  # the failed capture is over; why it failed is raised by the caller


def _explain(error: Exception) -> str:
    # torch.compile names its backend first, and the reason on the line after.
    lines = [line for line in str(error).splitlines() if line.strip()][:2]
    if not lines or not lines[0].endswith(":"):
        lines = lines[:1] or [type(error).__name__]
    reason = " ".join(lines)
    return (
        f"this training step cannot be captured as a CUDA graph ({reason}). A captured step may "
        "not read a value back (.item(), print, if on a tensor), move data from the host, or "
        "change shapes, and its optimizer must be capturable; change that, or set "
        "--trainer.strategy auto"
    )
