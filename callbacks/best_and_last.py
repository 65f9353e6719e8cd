"""Checkpoints under two fixed names, so that a command can ask for them without a search."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint


class BestAndLast(ModelCheckpoint):
    """Keeps ``best.ckpt`` and ``last.ckpt`` in the run's ``checkpoints`` folder.

    ``best.ckpt`` is the epoch with the best ``monitor``. Where there is no validation data it is
    the latest epoch. ``last.ckpt`` is written after every epoch and every ``every_n_steps``
    optimiser steps in between, atomically, so that a killed run loses no more than that.

    Args:
        monitor: validation metric that decides what is best.
        mode: ``max`` or ``min``.
        every_n_epochs: epochs between two looks at ``monitor``; a run whose epochs take a
            millisecond would otherwise do nothing but write.
        every_n_steps: optimiser steps between two writes of ``last.ckpt``, 0 for epochs only.

    Example::

        callbacks+:
          - class_path: callbacks.BestAndLast
            init_args: {monitor: val/loss, mode: min}
    """

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
            save_last=True,
            every_n_epochs=every_n_epochs,
            enable_version_counter=False,
        )
        self.every_n_steps = every_n_steps

    @property
    def state_key(self) -> str:
        # Without the monitor, which on_train_start may drop, so that a resumed run finds its state.
        return "BestAndLast"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
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
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0:
            self._save_last(trainer)

    def _save_last(self, trainer: pl.Trainer) -> None:
        if trainer.fast_dev_run or not self.dirpath:
            return
        trainer.save_checkpoint(Path(self.dirpath) / f"{self.CHECKPOINT_NAME_LAST}.ckpt")
