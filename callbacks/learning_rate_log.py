"""The learning rate as a scalar."""

from typing import Any

import lightning.pytorch as pl


class LearningRateLog(pl.Callback):
    """Logs ``lr``, the learning rate of the step about to be taken.

    Every ``log_every_n_steps`` steps, and at the beginning of the run. Where no schedule changes it
    within an epoch, also at the beginning of an epoch when it changed: there it jumps. Where the
    parameter groups of an optimizer have different rates, the others are ``lr/group1``,
    ``lr/group2`` and so on; groups that differ in weight decay alone share ``lr``.
    Lightning's ``LearningRateMonitor`` names the scalar after the optimizer's class, so that runs
    with different optimizers do not share a plot.
    """

    counts_chunks = True  # see training/strategies/chunks.py

    def __init__(self) -> None:
        self._logged: list[float] = []
        self._looked = 0
        self._may_jump = True
        self._changes_within = False  # an epoch

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._changes_within = _changes_within_epochs(trainer)
        self._logged = []
        self._looked = trainer.global_step
        self._may_jump = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._may_jump |= not self._changes_within

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # A batch may hold several optimizer steps, so the due one is passed rather than met.
        every, step = trainer.log_every_n_steps, trainer.global_step + 1
        due = step // every > self._looked // every
        look = due or self._may_jump
        self._looked, self._may_jump = step, False
        if not trainer.loggers or not look or not self._is_first(trainer):
            return
        rates = [float(group["lr"]) for group in trainer.optimizers[0].param_groups]
        if not due and rates == self._logged:
            return
        self._logged = rates
        if len(set(rates)) == 1:
            rates = rates[:1]
        values = {f"lr/group{index}" if index else "lr": lr for index, lr in enumerate(rates)}
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)

    def _is_first(self, trainer: pl.Trainer) -> bool:
        """One of several does the work: the schedulers, which know how to do this too, included."""
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        return next(c for c in callbacks if isinstance(c, LearningRateLog)) is self


def _changes_within_epochs(trainer: pl.Trainer) -> bool:
    """Whether a schedule is stepped with the optimizer, so that an epoch's beginning is no jump."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    owners = [c for c in callbacks if isinstance(c, LearningRateLog)]
    intervals = [getattr(owner, "interval", "epoch") for owner in owners]
    intervals += [scheduler.interval for scheduler in trainer.lr_scheduler_configs]
    return "step" in intervals
