"""Checkpoints under two fixed names, so that a command can ask for them without a search."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor


class BestAndLast(ModelCheckpoint):
    """Keeps ``best.ckpt`` and ``last.ckpt`` in the run's ``checkpoints`` folder.

    ``best.ckpt`` is the epoch with the best ``monitor``, of equals the latest. Where there is no
    validation data it is the latest epoch. ``last.ckpt`` is written after every epoch and every
    ``every_n_steps`` optimiser steps in between, atomically, so that a killed run loses no more.

    Args:
        monitor: validation metric that decides what is best.
        mode: ``max`` or ``min``.
        every_n_steps: optimiser steps between two writes of ``last.ckpt``, 0 for epochs only.
        every_n_epochs: epochs between two looks at ``monitor`` and two writes; a run whose epochs
            take a millisecond would otherwise do little but write.

    Raises:
        ValueError: nothing logs ``monitor``.

    Example::

        callbacks+:
          - class_path: callbacks.BestAndLast
            init_args: {monitor: val/loss, mode: min}
    """

    counts_chunks = True  # see strategies/chunks.py

    def __init__(
        self,
        monitor: str = "val/acc",
        mode: str = "max",
        every_n_steps: int = 500,
        every_n_epochs: int = 1,
    ) -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode,
            every_n_epochs=every_n_epochs,
            enable_version_counter=False,
        )
        self.every_n_steps = every_n_steps
        self._written = 0

    @property
    def state_key(self) -> str:
        # Without the monitor, which on_train_start may drop, so that a resumed run finds its state.
        return "BestAndLast"

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        # Of equals the latest: on a small validation set many epochs tie, and the learning rate
        # of a late one has come to rest.
        tied = current is not None and current == self.best_model_score
        return bool(tied) or super().check_monitor_top_k(trainer, current)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._written = trainer.global_step
        if not sum(trainer.num_val_batches):
            self.monitor = None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # A batch may hold several optimiser steps, so the due one is passed rather than met.
        step = trainer.global_step
        if self.every_n_steps and step // self.every_n_steps > self._written // self.every_n_steps:
            self._write_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        judged = self.monitor is not None and not trainer.sanity_checking
        if judged and self.monitor not in trainer.callback_metrics:
            logged = ", ".join(sorted(trainer.callback_metrics))
            raise ValueError(f"monitor {self.monitor!r} is not logged; there is {logged}")
        super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # A run that ends within its first epoch has not been validated yet.
        if self.monitor is None or self.monitor in trainer.callback_metrics:
            super().on_train_epoch_end(trainer, pl_module)
        # ModelCheckpoint's own save_last writes only when the best one changes.
        epoch = trainer.current_epoch + 1
        if epoch % (self.every_n_epochs or 1) == 0 or epoch == trainer.max_epochs:
            self._write_last(trainer)

    def _write_last(self, trainer: pl.Trainer) -> None:
        self._written = trainer.global_step
        if not trainer.fast_dev_run:
            trainer.save_checkpoint(Path(str(self.dirpath)) / "last.ckpt")
