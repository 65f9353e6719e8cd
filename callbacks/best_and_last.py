"""Checkpoints under two fixed names, so that a command can ask for them without a search."""

import os
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    LearningRateFinder,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from callbacks.deferred_interrupt import DeferredInterrupt
from callbacks.loop_state import before_validation, validation_is_due, within_epoch
from callbacks.preemption import Preemption
from callbacks.tuners import restores_own


class BestAndLast(ModelCheckpoint):
    """Keeps ``best.ckpt`` and ``last.ckpt`` in the run's ``checkpoints`` folder.

    ``best.ckpt`` is the epoch with the best ``monitor``, of equals the latest. Where there is no
    validation data it is the latest epoch, and where a run ends before the first look at
    ``monitor`` it is the end. A run that resumes with another ``monitor`` or ``mode`` looks for
    its best from there on.

    ``last.ckpt`` is written after every epoch, every ``every_n_steps`` optimizer steps in between,
    and where the run ends: by ``max_steps``, ``max_time``, early stopping, SIGTERM or Ctrl-C,
    within an epoch, too. A resumed run continues with the next batch. No checkpoint holds
    gradients: a run that accumulates them stops after the optimizer step. Ctrl-C ends the run
    after the current step or validation, a second one at once. SIGTERM to one of several processes
    ends all of them after the same step, as does SLURM's requeue signal, with which the job is
    put back into the queue. Where SIGTERM comes to a single process within an accumulation, or
    Ctrl-C to several, ``last.ckpt`` stays the one before.

    Args:
        monitor: validation metric that decides what is best.
        mode: ``max`` or ``min``.
        every_n_steps: optimizer steps between two writes of ``last.ckpt``, 0 for epochs only.
        every_n_epochs: epochs between two looks at ``monitor`` and two writes; a run whose epochs
            take a millisecond would otherwise do little but write.

    Raises:
        ValueError: nothing logs ``monitor``, which is known before the training where Lightning
            checks the validation first (``num_sanity_val_steps``); ``every_n_epochs`` below 1; the
            run has a StochasticWeightAveraging, whose weights no checkpoint would hold; one that
            resumes has a LearningRateFinder or BatchSizeFinder.

    Example::

        callbacks+:
          - class_path: callbacks.BestAndLast
            init_args: {monitor: val/loss, mode: min}
    """

    counts_chunks = True  # see training/strategies/chunks.py

    def __init__(
        self,
        monitor: str = "val/acc",
        mode: Literal["min", "max"] = "max",
        every_n_steps: int = 500,
        every_n_epochs: int = 1,
    ) -> None:
        # Lightning looks every epoch, and on_validation_end and on_train_epoch_end here let it:
        # where a run ends is a look, too.
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode,
            every_n_epochs=1,
            enable_version_counter=False,
        )
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs must be at least 1, got {every_n_epochs}")
        self.every_n_steps = every_n_steps
        self._epochs_between = every_n_epochs
        self._written = 0
        self._validated = -1
        self._refused = ""
        self._stop_after_step = False
        self._ctrl_c = DeferredInterrupt()
        self._preemption = Preemption()

    @property
    def state_key(self) -> str:
        # Without the monitor, which on_train_start may drop, so that a resumed run finds its state.
        return "BestAndLast"

    def state_dict(self) -> dict[str, Any]:
        # With the mode, so that the scores of several runs can be compared, and with the SLURM job,
        # so that it finds its checkpoint when it is requeued.
        job = os.environ.get("SLURM_JOB_ID")
        return {**super().state_dict(), "mode": self.mode, "slurm_job": job}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before = state_dict.get("monitor"), state_dict.get("mode", self.mode)
        if before[0] is not None and before != (self.monitor, self.mode):
            # Scores of two monitors cannot be compared: the next look is the best so far.
            new = {"best_model_score": None, "best_k_models": {}, "kth_value": self.kth_value}
            state_dict = {**state_dict, **new, "kth_best_model_path": ""}
        super().load_state_dict(state_dict)

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        # Of equals the latest: on a small validation set many epochs tie, and the learning rate
        # of a late one has come to rest.
        tied = current is not None and current == self.best_model_score
        return bool(tied) or super().check_monitor_top_k(trainer, current)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if stage == "fit" and any(isinstance(c, StochasticWeightAveraging) for c in callbacks):
            raise ValueError(
                "StochasticWeightAveraging puts its weights into the model after the last "
                "checkpoint, so none would hold them; use "
                "lightning.pytorch.callbacks.WeightAveraging or EMAWeightAveraging instead, whose "
                "average is what the checkpoints hold"
            )
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._preemption.prepare(trainer)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        tuners = [c for c in callbacks if isinstance(c, LearningRateFinder | BatchSizeFinder)]
        if tuners and trainer.state.fn == TrainerFn.FITTING and not restores_own(trainer):
            name = type(tuners[0]).__name__
            raise ValueError(
                f"{name} searches before a run begins, and would have this one forget the steps "
                f"that the checkpoint has taken; take {name} out to resume"
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._written = trainer.global_step
        self._validated = -1
        self._refused = ""
        self._stop_after_step = False
        if not sum(trainer.num_val_batches):
            self.monitor = None
        if trainer.world_size == 1:
            self._ctrl_c.install()
        self._preemption.install(trainer)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # Lightning resumes from a checkpoint written here without the validation that comes now.
        if self._accumulates(trainer) or trainer.is_last_batch or validation_is_due(trainer):
            return
        self._agree(trainer)
        if self._steps_due(trainer) or self._ends(trainer):
            self._write_last(trainer)
        self._ctrl_c.raise_if_asked()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        wrong = self._wrong_monitor(trainer)
        fits = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if wrong and fits and trainer.is_last_batch:
            self._refused = wrong  # where the epoch ends, which is written before
        elif wrong:
            raise ValueError(wrong)
        if wrong or not fits:
            return
        self._validated = trainer.global_step
        accumulates = self._accumulates(trainer)
        if self._epoch_due(trainer):
            super().on_validation_end(trainer, pl_module)
        # Lightning validates once more where a run is stopped, and a run that resumes would not:
        # there the state before the validation is the one to keep.
        if accumulates or trainer.is_last_batch or not validation_is_due(trainer):
            return
        self._agree(trainer)
        if self._steps_due(trainer) or self._ends(trainer):
            self._write_last(trainer)
        self._ctrl_c.raise_if_asked()

    def _wrong_monitor(self, trainer: pl.Trainer) -> str:
        """Why the monitor is refused; empty where something logs it, or may yet."""
        logged = sorted(trainer.callback_metrics)
        if self.monitor is None or self.monitor in logged:
            return ""
        # What training logs is not known yet, nor what a module keeps from that check.
        if trainer.sanity_checking and (self.monitor.startswith("train/") or not logged):
            return ""
        near = get_close_matches(self.monitor, logged, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        return (
            f"monitor {self.monitor!r} is not logged; there is {', '.join(logged)}{meant}; name "
            "one of them and its direction, such as --checkpoint.monitor val/loss "
            "--checkpoint.mode min"
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning calls this for an epoch cut short as well, and counts it as processed.
        cut = not trainer.is_last_batch
        self._agree(trainer)
        # A run that ends within its first epoch has not been validated yet, and one that ends
        # later within an epoch only where Lightning validated at the end.
        known = self.monitor is None or self.monitor in trainer.callback_metrics
        current = self.monitor is None or not cut or self._validated == trainer.global_step
        with within_epoch(trainer) if cut else nullcontext():
            due = self._epoch_due(trainer)
            before = self._last_global_step_saved
            if due and known and current:
                super().on_train_epoch_end(trainer, pl_module)
            best_too = before != self._last_global_step_saved == trainer.global_step
            # ModelCheckpoint's own save_last writes only when the best one changes.
            due = due or self._steps_due(trainer) or bool(self._refused)
            if self._written != trainer.global_step and due:
                self._write_last(trainer, best_too)
        if self._refused:
            last = Path(str(self.dirpath)) / "last.ckpt"
            kept = "" if trainer.fast_dev_run else f"; --ckpt_path {last} continues this run"
            raise ValueError(self._refused + kept)
        self._ctrl_c.raise_if_asked()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._ctrl_c.remove()
        super().on_train_end(trainer, pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._ctrl_c.remove()
        new = self._written != trainer.global_step and not self._accumulates(trainer)
        if isinstance(exception, SIGTERMException) and trainer.world_size == 1 and new:
            if trainer.validating:
                with before_validation(trainer):
                    self._write_last(trainer)
            elif not trainer.is_last_batch:
                self._write_last(trainer)
        super().on_exception(trainer, pl_module, exception)
        if isinstance(exception, SIGTERMException):
            self._preemption.requeue_if_asked(trainer)

    def _agree(self, trainer: pl.Trainer) -> None:
        """Lets all processes know of a signal to one; a run that has reached its end ignores it."""
        steps = 0 <= trainer.max_steps <= trainer.global_step
        epochs = trainer.current_epoch + 1 == trainer.max_epochs and trainer.is_last_batch
        if not steps and not epochs:
            self._preemption.agree(trainer)

    def _epoch_due(self, trainer: pl.Trainer) -> bool:
        epoch = trainer.current_epoch + 1
        last = epoch == trainer.max_epochs
        return epoch % self._epochs_between == 0 or last or self._ends(trainer)

    def _steps_due(self, trainer: pl.Trainer) -> bool:
        # A batch may hold several optimizer steps, so the due one is passed rather than met.
        every = self.every_n_steps
        return bool(every) and trainer.global_step // every > self._written // every

    def _ends(self, trainer: pl.Trainer) -> bool:
        """Whether the run ends with this step; ``max_epochs`` aside."""
        stopped = trainer.should_stop and trainer.fit_loop._can_stop_early
        reached = 0 <= trainer.max_steps <= trainer.global_step
        return stopped or reached or trainer.received_sigterm or self._ctrl_c.asked

    def _accumulates(self, trainer: pl.Trainer) -> bool:
        """Whether gradients wait for their optimizer step; a stop is put off until it is taken."""
        ready = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        waits = ready % trainer.accumulate_grad_batches != 0 and not trainer.is_last_batch
        if waits:
            self._stop_after_step |= trainer.should_stop
            trainer.should_stop = False
        elif self._stop_after_step:
            self._stop_after_step = False
            trainer.should_stop = True
        return waits

    def _write_last(self, trainer: pl.Trainer, best_too: bool = False) -> None:
        """Writes ``last.ckpt``, as a copy of ``best.ckpt`` where that is of this very state."""
        self._written = trainer.global_step
        if trainer.fast_dev_run:
            return
        folder = Path(str(self.dirpath))
        copy = getattr(trainer.strategy.checkpoint_io, "copy_checkpoint", None)
        alone = trainer.world_size == 1 and Path(self.best_model_path).is_file()
        if best_too and copy is not None and alone:
            copy(self.best_model_path, folder / "last.ckpt")
            return
        trainer.save_checkpoint(folder / "last.ckpt")
        signalled = trainer.received_sigterm or self._ctrl_c.asked
        if self._ends(trainer) and not signalled and not self.best_model_path:
            trainer.save_checkpoint(folder / "best.ckpt")
