"""Takes several optimizer steps of a LightningModule in a row, as replays of one CUDA graph."""

from itertools import takewhile
from typing import Any, Protocol

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from training.strategies.lightning_private import batch_hook
from training.strategies.recorder import (
    GraphOptimizer,
    Recorder,
    Recording,
    average_gradients,
    rounded_rates,
)
from training.strategies.step_graphs import (
    captured_index,
    log_arguments,
    loggable,
    logging_to,
    unread_counters,
)


class RowLoader(Protocol):
    """What a train loader must offer: batches by row numbers, gathered on the device."""

    def __len__(self) -> int: ...
    def chunks(self, room: Any) -> Any: ...
    def gather(self, rows: Tensor) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Stepper:
    """Takes several optimizer steps of a module's ``training_step`` without the Trainer's loop.

    The first ``warmup`` steps of a run are taken eagerly; they train like all others and let the
    libraries set themselves up. Then one step is captured as a CUDA graph: batch gather, transfer
    hooks, forward, backward, gradient clipping and optimizer. Row numbers and learning rates wait
    in buffers on the device; a counter, moved on by the graph itself, says which of them are next.
    So a replay needs nothing from the host. Steps with a batch of another size, such as a smaller
    last one, are taken eagerly.

    Args:
        trainer: the running Trainer.
        loader: the train loader whose rows are gathered.
        recorder: what captures.
        most: most optimizer steps of one :meth:`run`.
        warmup: eager steps before the capture.

    Raises:
        ValueError: the step holds something that a graph cannot; the message names it.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        loader: RowLoader,
        recorder: Recorder,
        most: int,
        warmup: int,
    ) -> None:
        self.trainer = trainer
        self.module: pl.LightningModule = trainer.lightning_module
        self.loader = loader
        self.recorder = recorder
        self.most = most
        self.warmup = warmup
        self.optimizer = trainer.optimizers[0]
        self.device = self.module.device
        self.accumulate = trainer.accumulate_grad_batches
        # The batch is on the device already; Lightning's look whether it is costs as much as a
        # small layer.
        owners = [owner for owner in (self.module, trainer.datamodule) if owner is not None]
        self._moves = any(is_overridden("transfer_batch_to_device", owner) for owner in owners)
        self._clips = bool(trainer.gradient_clip_val) or is_overridden(
            "configure_gradient_clipping", self.module
        )
        self._graph: Recording | None = None
        self._graph_optimizer: GraphOptimizer | None = None
        # Last value, and sum of value times images, of what is logged; and the arguments of log.
        self._logged: dict[str, tuple[Tensor, Tensor, dict[str, Any]]] = {}
        self._losses = torch.zeros(most, device=self.device)
        self._cursor = torch.zeros(1, dtype=torch.long, device=self.device)
        # A graph reads this memory at every replay, so it lives as long as the graph does.
        self._offsets = torch.arange(self.accumulate, device=self.device)
        self._rates = torch.zeros(most, len(self.optimizer.param_groups), device=self.device)
        self._rows: Tensor | None = None

    def run(self, steps: list[list[Tensor]], rates: list[list[float]], index: int) -> Any:
        """Trains on some batches and logs what ``training_step`` logged.

        Args:
            steps: row numbers (B,) of the batches of each optimizer step.
            rates: learning rates of each optimizer step, one per parameter group.
            index: number within the epoch of the first batch.

        Returns:
            ``loss`` of the last step and ``losses`` (steps,) of all.
        """
        for _, total, _ in self._logged.values():
            total.zero_()
        self._cursor.zero_()
        alike = sum(1 for _ in takewhile(self._fits, steps))
        eager = min(alike, self.warmup)
        self.warmup -= eager
        done = 0
        for number, batches in enumerate(steps):
            if number == eager and eager < alike:
                self._replay(steps[eager:alike], rates, eager)
            if not eager <= number < alike:
                self._take(batches, rates[number], index + done)
            done += len(batches)
        self._log([rows for batches in steps for rows in batches])
        losses = self._losses[: len(steps)].clone()
        return {"loss": losses[-1], "losses": losses}

    def _fits(self, batches: list[Tensor]) -> bool:
        """Whether a graph can take these rows: a full optimizer step of the batch size it knows."""
        if len(batches) != self.accumulate:
            return False
        if self._rows is None:
            shape = (self.most * self.accumulate, len(batches[0]))
            self._rows = torch.zeros(shape, dtype=torch.long, device=self.device)
        return all(len(rows) == self._rows.shape[1] for rows in batches)

    def _take(self, batches: list[Tensor], rates: list[float], index: int) -> None:
        """One eager step."""
        groups = self.optimizer.param_groups
        scheduled = [group["lr"] for group in groups]  # already that of the step after these
        with self.recorder.aside():
            for number, rows in enumerate(batches):
                self._gradients(rows, number == 0, (index + number,))
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate
            with rounded_rates(self.optimizer):
                self._finish(self.optimizer.step)
        for group, rate in zip(groups, scheduled, strict=True):
            group["lr"] = rate

    def _replay(self, steps: list[list[Tensor]], rates: list[list[float]], first: int) -> None:
        assert self._rows is not None
        rows = torch.stack([rows for batches in steps for rows in batches])
        start = first * self.accumulate
        self._rows[start : start + len(rows)].copy_(rows)
        host = torch.tensor(rates[first : first + len(steps)])
        host = host.pin_memory() if self.device.type == "cuda" else host
        self._rates[first : first + len(steps)].copy_(host, non_blocking=True)
        if self._graph is None or self._graph_optimizer is None:
            self._graph_optimizer = GraphOptimizer(self.optimizer, self.device)
            self._graph = self.recorder.capture(self._run_step)
        if not self._graph_optimizer.as_captured:
            raise ValueError(
                "a callback changes settings of the optimizer other than the learning rate, such "
                "as OneCycle's cycle_momentum, and several steps per turn would not notice; set "
                "--trainer.strategy.init_args.steps_per_turn 1"
            )
        for _ in steps:
            self._graph.replay()

    def _run_step(self) -> None:
        """What is captured: the step whose rows and rates the cursor points at."""
        assert self._rows is not None
        assert self._graph_optimizer is not None
        batches = self._rows.index_select(0, self._cursor * self.accumulate + self._offsets)
        with unread_counters(self.module):
            for number, rows in enumerate(batches):
                self._gradients(rows, number == 0, captured_index(self.module))
        rates = self._rates.index_select(0, self._cursor)[0]
        optimizer = self._graph_optimizer
        self._finish(lambda: optimizer.step(rates))

    def _gradients(self, rows: Tensor, first: bool, index: tuple[Any, ...]) -> None:
        """Adds the gradients of one batch and its loss."""
        module, plugin = self.module, self.trainer.precision_plugin
        if first:
            for group in self.optimizer.param_groups:  # zero_grad, without its profiling
                for parameter in group["params"]:
                    parameter.grad = None
            self._total = torch.zeros((), device=self.device)
        if not captured_index(module):
            index = ()

        def record(name: str, value: Any, *args: Any, **kwargs: Any) -> None:
            self._record(name, loggable(name, value), log_arguments(args, kwargs), len(rows))

        with logging_to(module, record):
            batch = plugin.convert_input(self.loader.gather(rows))
            if self._moves:
                batch = batch_hook(module, "transfer_batch_to_device", batch, self.device, 0)
            batch = batch_hook(module, "on_after_batch_transfer", batch, 0)
            with plugin.train_step_context():
                output = module.training_step(batch, *index)
            loss: Any = output["loss"] if isinstance(output, dict) else output
            loss = loss / self.accumulate if self.accumulate > 1 else loss
            plugin.backward(loss, module, self.optimizer)
        self._total = self._total + loss.detach()

    def _finish(self, step: Any) -> None:
        """Averages, clips, steps and moves the cursor on."""
        if self.trainer.world_size > 1:
            gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
            average_gradients(gradients, self.trainer.world_size)
        if self._clips:
            self.module.configure_gradient_clipping(
                self.optimizer,
                gradient_clip_val=self.trainer.gradient_clip_val,
                gradient_clip_algorithm=self.trainer.gradient_clip_algorithm,
            )
        step()
        self._losses.index_copy_(0, self._cursor, self._total.float().reshape(1))
        self._cursor.add_(1)

    def _record(self, name: str, value: Tensor, kwargs: dict[str, Any], size: int) -> None:
        """Keeps last value and sum on the device."""
        if name not in self._logged:
            zero = torch.zeros((), device=self.device)
            self._logged[name] = (zero, zero.clone(), kwargs)
        last, total, _ = self._logged[name]
        last.copy_(value)
        if kwargs.get("on_epoch"):
            total.add_(value, alpha=size)

    def _log(self, batches: list[Tensor]) -> None:
        sizes = [len(rows) for rows in batches]
        for name, (last, total, kwargs) in self._logged.items():
            if kwargs.get("on_epoch"):
                value, count = total / sum(sizes), sum(sizes)
            else:
                value, count = last.clone(), sizes[-1]
            self.module.log(name, value, **{**kwargs, "batch_size": count})
