"""What the learning-rate callbacks share: one owner, exact resume."""

import math
import os
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import GradientAccumulationScheduler, StochasticWeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from callbacks.learning_rate_log import LearningRateLog
from callbacks.tuners import restores_own


class LRSchedulerCallback(LearningRateLog, ABC):
    """Owns the learning rate of a run: builds a scheduler of torch, steps it and logs ``lr``.

    The scheduler is stepped after the optimizer's step (``interval: step``) or after an epoch's
    last one (``interval: epoch``), in both cases before a checkpoint is written, and its state is
    in the checkpoint, so a resumed run continues with the same learning rate. Gradient accumulation
    and modules that step their optimizer themselves are counted by ``trainer.global_step``.

    The module's ``configure_optimizers`` returns the optimizer alone; its learning rate is where
    the schedule begins, or its peak where there is a warm-up.

    Args:
        interval: ``step`` or ``epoch``.

    Raises:
        ValueError: another ``interval``; a second scheduler, StochasticWeightAveraging's included;
            several optimizers; a run without an end where the schedule needs one; a checkpoint of
            another scheduler or another length.
    """

    # Whether the schedule stretches over the whole run, whose length must then be known.
    needs_total = False

    def __init__(self, interval: str) -> None:
        super().__init__()
        if interval not in ("step", "epoch"):
            raise ValueError(f"interval must be step or epoch, got {interval!r}")
        self.interval = interval
        self.scheduler: LRScheduler | None = None
        self.total = 0
        self._steps = 0
        self._groups = 0
        self._restored: dict[str, Any] | None = None

    @abstractmethod
    def build(self, optimizer: Optimizer, total: int) -> LRScheduler:
        """The scheduler of torch for a run of ``total`` optimizer steps or epochs.

        ``total`` is 0 where ``needs_total`` is false.
        """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._refuse_second(trainer, pl_module)
        # Counting the steps sets up the loaders, and Lightning restores no loader that is set up:
        # a resumed run takes the number from the checkpoint and compares it when all is restored.
        state, self._restored = self._restored, None
        self.total = state["total"] if state else self._count(trainer)
        self._groups = len(trainer.optimizers[0].param_groups)
        self.scheduler = scheduler = self.build(trainer.optimizers[0], self.total)
        if state:
            scheduler.load_state_dict(state["scheduler"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._steps = trainer.global_step
        if (total := self._count(trainer)) != self.total:
            own = Path(trainer.ckpt_path or "").resolve().parent.parent / "config.yaml"
            typed = f": fit -c {os.path.relpath(own)} --ckpt_path last" if own.is_file() else ""
            raise ValueError(
                f"the checkpoint's {self._name} ends after {self.total} {self.interval}s, this run "
                f"after {total}; resume with the max_epochs, max_steps and batch size that it was "
                f"started with{typed}"
            )

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        taken = trainer.global_step - self._steps
        self._steps = trainer.global_step
        if self.interval == "epoch":
            # Not in on_train_epoch_end: the checkpoint of a validation is written before that.
            taken = int(trainer.is_last_batch)
        for _ in range(taken):
            self._move_on()

    def take(self, steps: int) -> list[list[float]]:
        """Learning rates of the next optimizer steps, per parameter group, for who takes several.

        The scheduler moves on past them, as if they had been taken one by one.
        """
        assert self.scheduler is not None
        rates = []
        with warnings.catch_warnings():
            # The steps do follow, all of them.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            for _ in range(steps):
                groups = self.scheduler.optimizer.param_groups
                rates.append([float(group["lr"]) for group in groups])
                if self.interval == "step":
                    self._move_on()
                    self._steps += 1
        return rates

    def _move_on(self) -> None:
        assert self.scheduler is not None
        # The call after a run's last step only closes the schedule; some have no value there.
        if self.needs_total and self.scheduler.last_epoch + 1 >= self.total:
            return
        # Groups that came later, as those of an unfrozen backbone do, are led by who added them.
        optimizer = self.scheduler.optimizer
        groups = optimizer.param_groups
        optimizer.param_groups = groups[: self._groups]
        self.scheduler.step()
        optimizer.param_groups = groups

    def state_dict(self) -> dict[str, Any]:
        if self.scheduler is None:
            return {}
        return {"total": self.total, "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # A test or validation schedules nothing, and a tuner searches before a schedule begins.
        resumes = trainer.state.fn == TrainerFn.FITTING and not restores_own(trainer)
        if resumes and self.state_key not in checkpoint.get("callbacks", {}):
            raise ValueError(
                f"the checkpoint was trained without {self._name}, so there is nothing to resume "
                "it from; take the scheduler out of this run, or start without --ckpt_path"
            )

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _refuse_second(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        owners = [c._name for c in callbacks if isinstance(c, LRSchedulerCallback)]
        if len(owners) > 1:
            raise ValueError(
                f"{' and '.join(owners)} would both set the learning rate; remove all but one of "
                "them from the callbacks"
            )
        if any(isinstance(callback, StochasticWeightAveraging) for callback in callbacks):
            raise ValueError(
                f"{self._name} and StochasticWeightAveraging would both set the learning rate; "
                "remove one of them, or use lightning.pytorch.callbacks.WeightAveraging, which "
                "averages weights and leaves the learning rate alone"
            )
        if trainer.lr_scheduler_configs:
            other = type(trainer.lr_scheduler_configs[0].scheduler).__name__
            raise ValueError(
                f"the callback {self._name} and the {other} that configure_optimizers of "
                f"{type(pl_module).__name__} returns would both set the learning rate; remove the "
                f"{other} (--lr_scheduler, or in the module) to keep {self._name}, or the callback "
                f"to keep {other}"
            )
        if len(trainer.optimizers) != 1:
            raise ValueError(
                f"{self._name} sets the learning rate of one optimizer, and "
                f"{type(pl_module).__name__} has {len(trainer.optimizers)}; remove the callback "
                "and schedule them in configure_optimizers"
            )

    def _count(self, trainer: pl.Trainer) -> int:
        if not self.needs_total:
            return 0
        if trainer.limit_train_batches == 0:
            raise ValueError(
                f"{self._name} stretches over the steps of the run, and with limit_train_batches 0 "
                "there are none; set --trainer.limit_train_batches to more, or use validate or test"
            )
        steps = _optimizer_steps(trainer)
        total = steps if self.interval == "step" else trainer.max_epochs
        if total is None or not 0 < total < float("inf"):
            raise ValueError(
                f"{self._name} stretches over the whole run, and this one has no end; set "
                "--trainer.max_steps or --trainer.max_epochs"
            )
        return int(total)


def _optimizer_steps(trainer: pl.Trainer) -> int | float:
    """Optimizer steps of the whole run, also where the accumulation changes between epochs."""
    steps = trainer.estimated_stepping_batches
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    changing = [c for c in callbacks if isinstance(c, GradientAccumulationScheduler)]
    batches = trainer.num_training_batches
    if not changing or trainer.max_epochs == -1 or not math.isfinite(batches):
        return steps
    accumulated = [
        changing[0].get_accumulate_grad_batches(e) for e in range(trainer.max_epochs or 0)
    ]
    steps = sum(math.ceil(batches / accumulate) for accumulate in accumulated)
    return min(steps, trainer.max_steps) if trainer.max_steps != -1 else steps
