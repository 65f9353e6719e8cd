"""What both graph strategies share: which step is captured, replayed, or computed without."""

from collections.abc import Callable
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.optim import Optimizer

from callbacks.lr_scheduler import LRSchedulerCallback
from training.strategies.chunks import Chunk, ChunkLoader, refuse_unseen_hooks
from training.strategies.lightning_private import close_step, count_steps, ends_step, skips_backward
from training.strategies.recorder import Recorder, average_gradients, rounded_rates
from training.strategies.step_graphs import StepGraphs
from training.strategies.stepper import RowLoader, Stepper


class GraphSteps:
    """What both strategies share. Without a GPU all of it is Lightning's own.

    Lightning's loop calls ``training_step``, ``backward`` and ``optimizer_step`` of a strategy and,
    around them, all hooks. Each of the three replays its part of the captured step, so the hooks
    are called when they are due. The first ``warmup_steps`` steps, and batches of another shape
    than the captured one, are computed without a graph.
    """

    lightning_module: Any
    precision_plugin: Any
    root_device: torch.device

    def __init__(
        self,
        steps_per_turn: int = 1,
        warmup_steps: int = 2,
        without_gpu: Literal["error", "auto"] = "error",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if steps_per_turn < 1 or warmup_steps < 1:
            raise ValueError("steps_per_turn and warmup_steps must be at least 1")
        if without_gpu not in ("error", "auto"):
            raise ValueError(f"without_gpu must be error or auto, got {without_gpu!r}")
        self.steps_per_turn = steps_per_turn
        self.warmup_steps = warmup_steps
        self.without_gpu = without_gpu
        self._loader: RowLoader | None = None
        self._forget()

    @property
    def captures(self) -> bool:
        """Whether steps are captured; otherwise Lightning's own loop runs unchanged."""
        return self.root_device.type == "cuda"

    @property
    def _chunked(self) -> bool:
        return self.captures and self.steps_per_turn > 1

    def _check_device(self, device: torch.device) -> None:
        if device.type != "cuda" and self.without_gpu == "error":
            raise ValueError(
                f"strategy cuda_graph needs a CUDA GPU and this run is on the {device.type}; set "
                "--trainer.strategy auto, or in a config the strategy's argument without_gpu: auto"
            )

    def _forget(self) -> None:
        """Drops all graphs; the next steps are computed without."""
        self._graphs: StepGraphs | None = None
        self._stepper: Stepper | None = None
        # With its last graph a memory pool is gone: later captures need a pool of their own.
        self._own_recorder: Recorder | None = None
        self._warmup_left = self.warmup_steps
        self._replays = False
        self._chunk_steps = 0

    @property
    def _recorder(self) -> Recorder:
        if self._own_recorder is None:
            self._own_recorder = Recorder(self.root_device)
        return self._own_recorder

    def setup(self, trainer: pl.Trainer) -> None:
        super().setup(trainer)  # type: ignore[misc]
        if trainer.state.fn == TrainerFn.FITTING and self.captures:
            _refuse_what_cannot_be_captured(trainer)
            if self._chunked:
                refuse_unseen_hooks(trainer)

    def process_dataloader(self, dataloader: Any) -> Any:
        trainer = self.lightning_module.trainer
        if not (trainer.training and self._chunked):
            return super().process_dataloader(dataloader)  # type: ignore[misc]
        if not (hasattr(dataloader, "chunks") and hasattr(dataloader, "gather")):
            raise ValueError(
                f"several steps per turn need the data on the device, and the train loader is a "
                f"{type(dataloader).__name__}; set --data.init_args.resident true, or "
                "--trainer.strategy.init_args.steps_per_turn 1"
            )
        if getattr(trainer.datamodule, "augment", None):
            raise ValueError(
                "several steps per turn replay what was captured, and the transforms of augment "
                "draw on the host; use rotate, shift and zoom, or set "
                "--trainer.strategy.init_args.steps_per_turn 1"
            )
        self._loader = dataloader
        return ChunkLoader(dataloader, trainer, self.steps_per_turn)

    def batch_to_device(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(batch, Chunk):
            return batch
        return super().batch_to_device(batch, *args, **kwargs)  # type: ignore[misc]

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        if not self.captures:
            return super().training_step(*args, **kwargs)  # type: ignore[misc]
        trainer = self.lightning_module.trainer
        if isinstance(args[0], Chunk):
            return self._take_chunk(trainer, args[0])
        self._replays = self._can_replay(trainer, args[0])
        if not self._replays:
            with self._recorder.aside():
                return super().training_step(*args, **kwargs)  # type: ignore[misc]
        assert self._graphs is not None
        return self._graphs.forward(args[0], _begins_step(trainer))

    def _can_replay(self, trainer: pl.Trainer, batch: Any) -> bool:
        if skips_backward(trainer):
            return False
        if self._graphs is not None and not self._graphs.fits():
            self._forget()  # a callback unfroze layers, or changed the accumulation
        if self._warmup_left:
            return False
        if self._graphs is None:
            if not _begins_step(trainer):
                return False
            self._graphs = StepGraphs(trainer, self._recorder, batch)
        return self._graphs.takes(batch)

    def backward(
        self, closure_loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any
    ) -> Tensor:
        if self._chunked:
            return closure_loss  # computed within the step
        if not self.captures:
            return super().backward(closure_loss, optimizer, *args, **kwargs)  # type: ignore[misc]
        module, plugin, last = self.lightning_module, self.precision_plugin, self._ends_step()
        closure_loss = plugin.pre_backward(closure_loss, module)
        if self._replays:
            assert self._graphs is not None
            self._graphs.backward(last)
        else:
            with self._recorder.aside():
                plugin.backward(closure_loss, module, optimizer, *args, **kwargs)
                self._average_gradients(last)
        return plugin.post_backward(closure_loss, module)

    def _ends_step(self) -> bool:
        return ends_step(self.lightning_module.trainer)

    def _average_gradients(self, last: bool) -> None:
        world_size = self.lightning_module.trainer.world_size
        if last and world_size > 1:
            gradients = [p.grad for p in self.lightning_module.parameters() if p.grad is not None]
            average_gradients(gradients, world_size)

    def optimizer_step(
        self, optimizer: Optimizer, closure: Callable[[], Any], model: Any = None, **kwargs: Any
    ) -> Any:
        if self._chunked:
            loss = closure()
            trainer, steps = self.lightning_module.trainer, self._chunk_steps
            # Lightning counts one step, and zeroed gradients if the last batch begins a step.
            count_steps(trainer, steps - 1, steps - _begins_step(trainer))
            return loss
        if not self.captures:
            return super().optimizer_step(optimizer, closure, model, **kwargs)  # type: ignore[misc]
        loss = close_step(self.precision_plugin, self.lightning_module, optimizer, closure)
        if not (self._replays and self._graphs is not None and self._graphs.optimize()):
            with self._recorder.aside(), rounded_rates(optimizer):
                optimizer.step(**kwargs)
            self._warmup_left = max(0, self._warmup_left - 1)
        self._replays = False
        return loss

    def _take_chunk(self, trainer: pl.Trainer, chunk: Chunk) -> Any:
        accumulate = trainer.accumulate_grad_batches
        if self._stepper is None or self._stepper.accumulate != accumulate:
            assert self._loader is not None
            self._stepper = Stepper(
                trainer, self._loader, self._recorder, self.steps_per_turn, self.warmup_steps
            )
        batches = list(chunk.rows.split(chunk.sizes))
        index = trainer.fit_loop.batch_idx + 1 - len(batches)
        first = accumulate - index % accumulate
        steps = [batches[:first]]
        steps += [batches[at : at + accumulate] for at in range(first, len(batches), accumulate)]
        self._chunk_steps = len(steps)
        return self._stepper.run(steps, _learning_rates(trainer, len(steps)), index)

    # A checkpoint restored within a fit, as Lightning's tuners do, brings an optimizer state that
    # no graph knows.
    def load_optimizer_state_dict(self, checkpoint: Any) -> None:
        self._forget()
        super().load_optimizer_state_dict(checkpoint)  # type: ignore[misc]

    def teardown(self) -> None:
        self._forget()
        self._loader = self._own_recorder = None
        super().teardown()  # type: ignore[misc]


def _begins_step(trainer: pl.Trainer) -> bool:
    return trainer.fit_loop.batch_idx % trainer.accumulate_grad_batches == 0


def _refuse_what_cannot_be_captured(trainer: pl.Trainer) -> None:
    module = trainer.lightning_module
    name = type(module).__name__
    if not module.automatic_optimization or len(trainer.optimizers) != 1:
        raise ValueError(
            f"strategy cuda_graph steps one optimizer by itself, and {name} optimizes by hand or "
            "with several; set --trainer.strategy auto"
        )
    if is_overridden("optimizer_zero_grad", module):
        raise ValueError(
            f"{name} overrides optimizer_zero_grad, and strategy cuda_graph sets gradients itself; "
            "set --trainer.strategy auto"
        )
    if isinstance(trainer.optimizers[0], torch.optim.LBFGS):
        raise ValueError(
            "LBFGS calls its steps itself; take another optimizer, or set --trainer.strategy auto"
        )
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        raise ValueError(
            "strategy cuda_graph cannot scale losses as 16-mixed does; use "
            "--trainer.precision bf16-mixed"
        )


def _learning_rates(trainer: pl.Trainer, steps: int) -> list[list[float]]:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, LRSchedulerCallback):
            return callback.take(steps)
    return [[float(group["lr"]) for group in trainer.optimizers[0].param_groups]] * steps
