"""One batch as CUDA graphs: forward, backward and the optimizer's step, each a graph of its own."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from training.strategies.recorder import (
    CapturedIndex,
    GraphOptimizer,
    Recorder,
    Recording,
    average_gradients,
)


class StepGraphs:
    """Replays a module's step in the three parts between which Lightning calls its hooks.

    ``forward`` is ``training_step``, ``backward`` the gradients (averaged over the processes where
    the optimizer steps next), ``optimize`` the optimizer's step. The gradients of a replay are in
    ``parameter.grad``, so hooks may read and change them. A batch is copied into memory that the
    graphs read. What ``training_step`` logs is logged again after each replay.

    Args:
        trainer: the running Trainer; its optimizer has taken a step already.
        recorder: what captures.
        batch: an example of the batches that the graphs will take.

    Raises:
        ValueError: the step, or the batch, holds something that a graph cannot.
    """

    def __init__(self, trainer: pl.Trainer, recorder: Recorder, batch: Any) -> None:
        self._trainer = trainer
        self._module: pl.LightningModule = trainer.lightning_module
        self._accumulate = trainer.accumulate_grad_batches
        self._optimizer = trainer.optimizers[0]
        self._graph_optimizer = GraphOptimizer(self._optimizer, self._module.device)
        self._all_parameters = list(self._module.parameters())
        self._layout = self._read_layout()
        leaves, self._structure = tree_flatten(batch)
        self._inputs = [_input(leaf) for leaf in leaves]
        self._log_arguments: dict[str, dict[str, Any]] = {}
        self._loss: Tensor | None = None
        self._first = True
        self._rates: list[float | Tensor | None] = [None] * len(self._optimizer.param_groups)
        with _kept_gradients(self._all_parameters):
            self._capture(recorder)

    def _capture(self, recorder: Recorder) -> None:
        for parameter in self._all_parameters:
            parameter.grad = None
        self._forward: dict[bool, Recording] = {True: recorder.capture(self._run_forward)}
        # Without gradients the backward pass writes new ones, which is faster than adding to zeros.
        self._backward: dict[bool, Recording] = {True: recorder.capture(self._run_backward)}
        self._gradients: list[Tensor] = self._backward[True].result
        self._parameters = [p for p in self._all_parameters if p.grad is not None]
        if self._accumulate > 1:
            self._forward[False] = recorder.capture(self._run_forward)
            self._backward[False] = recorder.capture(self._run_backward)
        world_size = self._trainer.world_size
        self._average: Recording | None = None
        if world_size > 1:
            self._average = recorder.capture(lambda: average_gradients(self._gradients, world_size))
        rates = self._graph_optimizer.rates
        self._optimize = recorder.capture(lambda: self._graph_optimizer.step(rates))

    def fits(self) -> bool:
        """Whether parameters, groups and accumulation are still those of the capture."""
        return self._layout == self._read_layout()

    def _read_layout(self) -> tuple[Any, ...]:
        trained = tuple(parameter.requires_grad for parameter in self._all_parameters)
        groups = tuple(len(group["params"]) for group in self._optimizer.param_groups)
        return self._trainer.accumulate_grad_batches, self._trainer.optimizers[0], trained, groups

    def takes(self, batch: Any) -> bool:
        """Whether the batch has the structure, shapes and types of the captured one."""
        leaves, structure = tree_flatten(batch)
        return structure == self._structure and all(map(_alike, leaves, self._inputs))

    def forward(self, batch: Any, first: bool) -> Any:
        """Loss, or dictionary, of ``training_step`` on this batch.

        Args:
            batch: as :meth:`takes` wants it.
            first: whether it is the first batch of an optimizer step.
        """
        self._first = first
        for memory, leaf in zip(self._inputs, tree_flatten(batch)[0], strict=True):
            if isinstance(memory, Tensor):
                memory.copy_(leaf, non_blocking=True)
        recording = self._forward[first]
        recording.replay()
        output, logged = recording.result
        for name, value in logged.items():
            self._module.log(name, value.clone(), **self._log_arguments[name])
        return tree_map_only(Tensor, torch.clone, output)

    def backward(self, ends_step: bool) -> None:
        """Gradients of the batch that ``forward`` had; averaged where the optimizer steps next."""
        if not self._first:
            for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
                if parameter.grad is None:
                    gradient.zero_()
                elif parameter.grad is not gradient:
                    gradient.copy_(parameter.grad)
        self._backward[self._first].replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        if self._average is not None and ends_step:
            self._average.replay()

    def optimize(self) -> bool:
        """Takes the optimizer's step; false where a hook changed what the graph cannot follow."""
        pairs = zip(self._parameters, self._gradients, strict=True)
        hooks = (
            self._optimizer._optimizer_step_pre_hooks,
            self._optimizer._optimizer_step_post_hooks,
        )
        if (
            any(parameter.grad is not gradient for parameter, gradient in pairs)
            or any(hooks)
            or not self._graph_optimizer.as_captured
        ):
            return False
        for index, group in enumerate(self._optimizer.param_groups):
            rate = group["lr"]
            if isinstance(rate, Tensor) or rate != self._rates[index]:
                self._graph_optimizer.rates[index].fill_(rate)
                self._rates[index] = rate
        self._optimize.replay()
        return True

    def _run_forward(self) -> tuple[Any, dict[str, Tensor]]:
        module, logged = self._module, {}

        def record(name: str, value: Any, *args: Any, **kwargs: Any) -> None:
            logged[name] = loggable(name, value)
            self._log_arguments[name] = log_arguments(args, kwargs)

        batch = tree_unflatten(self._inputs, self._structure)
        context = self._trainer.precision_plugin.train_step_context()
        with logging_to(module, record), unread_counters(module), context:
            output = module.training_step(batch, *captured_index(module))
        self._loss = output["loss"] if isinstance(output, dict) else output
        if not isinstance(self._loss, Tensor):
            raise ValueError(f"training_step returned {type(self._loss).__name__} and no loss")
        return tree_map_only(Tensor, torch.detach, output), logged

    def _run_backward(self) -> list[Tensor]:
        assert self._loss is not None
        loss = self._loss / self._accumulate if self._accumulate > 1 else self._loss
        self._trainer.precision_plugin.backward(loss, self._module, self._optimizer)
        return [p.grad for p in self._all_parameters if p.grad is not None]


@contextmanager
def logging_to(module: pl.LightningModule, record: Any) -> Iterator[None]:
    """Within, ``self.log`` of the module calls ``record``."""
    module.__dict__["log"] = record
    try:
        yield
    finally:
        del module.__dict__["log"]


@contextmanager
def unread_counters(module: pl.LightningModule) -> Iterator[None]:
    """Within, the module's counters refuse to be read: a graph would keep what they were."""

    def refuse(name: str) -> property:
        def read(_: Any) -> Any:
            raise ValueError(f"it reads {name}, which a graph would keep as it was at the capture")

        return property(read)

    plain = type(module)
    counters = {name: refuse(name) for name in ("current_epoch", "global_step")}
    module.__class__ = type(plain.__name__, (plain,), counters)
    try:
        yield
    finally:
        module.__class__ = plain


def captured_index(module: pl.LightningModule) -> tuple[Any, ...]:
    """The argument ``batch_idx`` of a captured ``training_step``, if it takes one."""
    takes = is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)
    return (CapturedIndex(),) if takes else ()


def loggable(name: str, value: Any) -> Tensor:
    """The value to log, detached.

    Raises:
        ValueError: it is not a tensor, so that a replay would log the same number for ever.
    """
    if not isinstance(value, Tensor):
        raise ValueError(
            f"training_step logs {name!r} as a {type(value).__name__}; a captured step can log "
            "tensors only: log a tensor, or set --trainer.strategy auto"
        )
    return value.detach()


def log_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of ``self.log`` after name and value, by name."""
    names = list(inspect.signature(pl.LightningModule.log).parameters)[3:]
    return kwargs | dict(zip(names, args, strict=False))


@contextmanager
def _kept_gradients(parameters: list[torch.nn.Parameter]) -> Iterator[None]:
    before = [parameter.grad for parameter in parameters]
    try:
        yield
    finally:
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient


def _input(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        # With its strides: a compiled net would be compiled again, in the capture, for others.
        overlaps = 0 in leaf.stride()
        memory = (
            torch.empty_like(leaf)
            if overlaps
            else torch.empty_strided(
                leaf.shape, leaf.stride(), dtype=leaf.dtype, device=leaf.device
            )
        )
        return memory.copy_(leaf)
    if leaf is None or isinstance(leaf, bool | int | float | str):
        return leaf
    raise ValueError(
        f"a batch with a {type(leaf).__name__} in it cannot be captured as a CUDA graph; let the "
        "loader yield tensors, numbers and strings in tuples, lists or dictionaries, or set "
        "--trainer.strategy auto"
    )


def _alike(leaf: Any, memory: Any) -> bool:
    if isinstance(memory, Tensor):
        return (
            isinstance(leaf, Tensor) and leaf.shape == memory.shape and leaf.dtype == memory.dtype
        )
    return type(leaf) is type(memory) and leaf == memory
