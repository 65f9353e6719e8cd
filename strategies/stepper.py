"""Runs optimiser steps of a LightningModule back to back, on a GPU as replays of a CUDA graph."""

import gc
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor


class RowLoader(Protocol):
    """What a train loader must offer: batches by row numbers, gathered on the device."""

    def __len__(self) -> int: ...
    def chunks(self, room: Callable[[], int]) -> Any: ...
    def gather(self, rows: Tensor) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Stepper:
    """Takes several optimiser steps of a module's ``training_step`` without the Trainer's loop.

    The first ``warmup`` steps of a run are taken eagerly; they train like all others and let the
    libraries set themselves up. Then one step (and ``unroll`` of them in a row) is captured as a
    CUDA graph: batch gather, transfer hooks, forward, backward, gradient clipping and optimiser.
    Row numbers and learning rates wait in buffers on the device; a counter, moved on by the graph
    itself, says which of them are next. So a replay needs nothing from the host.

    Source: PyTorch's notes on CUDA graphs, https://docs.pytorch.org/docs/stable/notes/cuda.html.

    Args:
        trainer: the running Trainer.
        loader: the train loader whose rows are gathered.
        unroll: optimiser steps in one graph; 0 to take every step eagerly.
        warmup: eager steps before the capture.

    Raises:
        ValueError: the step holds something that a graph cannot; the message names it.
    """

    def __init__(self, trainer: pl.Trainer, loader: RowLoader, unroll: int, warmup: int) -> None:
        self.trainer = trainer
        self.module: pl.LightningModule = trainer.lightning_module
        self.loader = loader
        self.unroll = unroll
        self.warmup = warmup
        self.optimizer = trainer.optimizers[0]
        self.device = self.module.device
        self.accumulate = trainer.accumulate_grad_batches
        self.most = max(1, trainer.log_every_n_steps)
        takes_index = is_param_in_hook_signature(self.module.training_step, "batch_idx", min_args=2)
        self._index_argument = (0,) if takes_index else ()
        # The batch is on the device already; on a CPU Lightning's look whether it is costs as much
        # as a small layer.
        owners = [owner for owner in (self.module, trainer.datamodule) if owner is not None]
        self._moves = any(is_overridden("transfer_batch_to_device", owner) for owner in owners)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._stream = torch.cuda.Stream(self.device) if unroll else None
        self._logged: dict[str, tuple[Tensor, Tensor, dict[str, Any]]] = {}
        self._losses = torch.zeros(self.most, device=self.device)
        self._cursor = torch.zeros(1, dtype=torch.long, device=self.device)
        # A graph reads this memory at every replay, so it lives as long as the graphs do.
        self._offsets = torch.arange(self.accumulate, device=self.device)
        self._rates = torch.zeros(self.most, len(self.optimizer.param_groups), device=self.device)
        self._rows: Tensor | None = None

    def run(self, rows: Tensor, rates: list[list[float]]) -> dict[str, Tensor]:
        """Trains on some batches and logs what ``training_step`` logged.

        Args:
            rows: row numbers (m, B) of m batches; ``accumulate`` of them make an optimiser step.
            rates: learning rates of each optimiser step, one a parameter group.

        Returns:
            ``loss`` of the last step and ``losses`` (steps,) of all.
        """
        steps = len(rates)
        if self.unroll:
            # A graph reads rates in float32; a step taken eagerly must take the very same.
            rates = torch.tensor(rates).tolist()
        for _, total, _ in self._logged.values():
            total.zero_()
        self._cursor.zero_()
        done = self._eager(rows, rates, 0, min(steps, self.warmup) if self._fits(rows) else steps)
        if done < steps:
            self._fill(rows, rates)
            while done < steps:
                length = self.unroll if steps - done >= self.unroll else 1
                self._graph(length).replay()
                done += length
        self._log(steps, rows.shape[1] * self.accumulate)
        losses = self._losses[:steps].clone()
        return {"loss": losses[-1], "losses": losses}

    def _fits(self, rows: Tensor) -> bool:
        """Whether a graph can take these rows: full optimiser steps of the batch size it knows."""
        if not self.unroll or len(rows) % self.accumulate:
            return False
        if self._rows is None:
            shape = (self.most * self.accumulate, rows.shape[1])
            self._rows = torch.zeros(shape, dtype=torch.long, device=self.device)
        return self._rows.shape[1] == rows.shape[1]

    def _fill(self, rows: Tensor, rates: list[list[float]]) -> None:
        assert self._rows is not None
        self._rows[: len(rows)].copy_(rows)
        host = torch.tensor(rates).pin_memory()
        self._rates[: len(rates)].copy_(host, non_blocking=True)

    def _eager(self, rows: Tensor, rates: list[list[float]], done: int, until: int) -> int:
        """Takes steps ``done`` to ``until`` one by one; gives how many are done then."""
        if self.unroll:
            self.warmup = max(0, self.warmup - until)
            self._stream.wait_stream(torch.cuda.current_stream())  # type: ignore[union-attr]
        groups = self.optimizer.param_groups
        scheduled = [group["lr"] for group in groups]  # already that of the step after these
        with torch.cuda.stream(self._stream):
            for step in range(done, until):
                self._step(rows[step * self.accumulate : (step + 1) * self.accumulate], rates[step])
        for group, rate in zip(groups, scheduled, strict=True):
            group["lr"] = rate
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)
        return max(done, until)

    def _graph(self, length: int) -> torch.cuda.CUDAGraph:
        if length not in self._graphs:
            self._graphs[length] = self._capture(length)
        return self._graphs[length]

    def _capture(self, length: int) -> torch.cuda.CUDAGraph:
        assert self._stream is not None
        assert self._rows is not None
        graph = torch.cuda.CUDAGraph()
        groups = self.optimizer.param_groups
        flags = [group.get("capturable") for group in groups]
        rates = [group["lr"] for group in groups]
        generator = torch.cuda.default_generators[self.device.index]
        chances = generator.clone_state()
        collecting = gc.isenabled()
        gc.disable()  # freeing another graph's memory would break the capture
        for state in self.optimizer.state.values():
            # Optimisers that are not fused count their steps on the host.
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].to(self.device)
        self._stream.wait_stream(torch.cuda.current_stream())
        torch.cuda.synchronize(self.device)
        with torch.cuda.stream(self._stream):
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                for group, flag in zip(groups, flags, strict=True):
                    if flag is not None:
                        group["capturable"] = True
                for _ in range(length):
                    rows = self._rows.index_select(
                        0, self._cursor * self.accumulate + self._offsets
                    )
                    self._step(rows, list(self._rates.index_select(0, self._cursor)[0]))
            except Exception as error:
                _abandon(graph)
                generator.graphsafe_set_state(chances)
                raise ValueError(_explain(error)) from error
            finally:
                for group, flag, rate in zip(groups, flags, rates, strict=True):
                    group["lr"] = rate
                    if flag is not None:
                        group["capturable"] = flag
                if collecting:
                    gc.enable()
            graph.capture_end()
        torch.cuda.current_stream().wait_stream(self._stream)
        return graph

    def _step(self, rows: Tensor, rates: list[Any]) -> None:
        """One optimiser step on the batches of ``rows`` (accumulate, B)."""
        module, optimizer = self.module, self.optimizer
        for group in optimizer.param_groups:  # zero_grad, without what it tells a profiler
            for parameter in group["params"]:
                parameter.grad = None
        total: Tensor | None = None
        module.__dict__["log"] = self._record
        try:
            for batch_rows in rows:
                batch = self.trainer.precision_plugin.convert_input(self.loader.gather(batch_rows))
                if self._moves:
                    batch = module._call_batch_hook(
                        "transfer_batch_to_device", batch, self.device, 0
                    )
                batch = module._call_batch_hook("on_after_batch_transfer", batch, 0)
                with self.trainer.precision_plugin.train_step_context():
                    output = module.training_step(batch, *self._index_argument)
                loss: Any = output["loss"] if isinstance(output, dict) else output
                loss = loss / self.accumulate if self.accumulate > 1 else loss
                module.backward(loss)
                total = loss.detach() if total is None else total + loss.detach()
        finally:
            del module.__dict__["log"]
        self._average_gradients()
        if self.trainer.gradient_clip_val:
            module.configure_gradient_clipping(
                optimizer,
                gradient_clip_val=self.trainer.gradient_clip_val,
                gradient_clip_algorithm=self.trainer.gradient_clip_algorithm,
            )
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        optimizer.step()
        assert total is not None
        self._losses.index_copy_(0, self._cursor, total.float().reshape(1))
        self._cursor.add_(1)

    def _average_gradients(self) -> None:
        if self.trainer.world_size == 1:
            return
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        flat.div_(self.trainer.world_size)
        torch.distributed.all_reduce(flat)
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def _record(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        """Stands in for ``module.log`` within a step: keeps last value and sum on the device."""
        if not isinstance(value, Tensor):
            raise ValueError(
                f"training_step logs {name!r} as a {type(value).__name__}; several steps at once "
                "can log tensors only: log a tensor, or take strategy cuda_graph out"
            )
        if args:
            names = list(inspect.signature(pl.LightningModule.log).parameters)[3:]
            kwargs |= dict(zip(names, args, strict=False))
        if name not in self._logged:
            zero = torch.zeros((), device=self.device)
            self._logged[name] = (zero, zero.clone(), kwargs)
        last, total, _ = self._logged[name]
        last.copy_(value.detach())
        total.add_(value.detach())

    def _log(self, steps: int, samples: int) -> None:
        for name, (last, total, kwargs) in self._logged.items():
            if kwargs.get("on_epoch"):
                value, count = total / (steps * self.accumulate), steps * samples
            else:
                value, count = last.clone(), samples
            self.module.log(name, value, **{**kwargs, "batch_size": count})


def _abandon(graph: torch.cuda.CUDAGraph) -> None:
    try:
        graph.capture_end()
    except RuntimeError:
        return  # the failed capture is over; why it failed is raised by the caller


def _explain(error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"this training step cannot be captured as a CUDA graph ({reason}). A captured step may "
        "not read a value back (.item(), print, if on a tensor), move data from the host, or "
        "change shapes, and its optimiser must be capturable; change that, or take strategy "
        "cuda_graph out"
    )
