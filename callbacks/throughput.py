"""Samples or tokens per second of the training loop."""

import time
from typing import Any

import lightning.pytorch as pl


class Throughput(pl.Callback):
    """Logs ``train/<unit>_per_sec`` every ``log_every_n_steps`` steps, over all processes.

    Lightning's ``ThroughputMonitor`` synchronises the GPU at every step, which costs a small net
    more than the step itself; here the clock is read every ``log_every_n_steps`` steps only. The
    GPU may lag behind the host by the steps still queued, which the average over an interval hides.

    Args:
        unit: ``images``, one for each row of a batch's first tensor, or ``tokens``, as many for
            each row as the datamodule's ``context`` says.

    Raises:
        ValueError: another unit.
    """

    counts_chunks = True  # see strategies/chunks.py

    def __init__(self, unit: str = "images") -> None:
        if unit not in ("images", "tokens"):
            raise ValueError(f"unit must be images or tokens, got {unit!r}")
        self.unit = unit
        self._since: float | None = None
        self._samples = 0
        self._looked = 0
        self._width = 1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.unit == "tokens":
            self._width = trainer.datamodule.context

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = None
        self._looked = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._samples += len(batch[0]) * self._width
        # A batch may hold several optimiser steps, so the due one is passed rather than met.
        every, step = trainer.log_every_n_steps, trainer.global_step
        due, self._looked = step // every > self._looked // every, step
        if not due and self._since is not None:
            return
        now = time.perf_counter()
        if self._since is not None:
            rate = self._samples * trainer.world_size / (now - self._since)
            pl_module.log(f"train/{self.unit}_per_sec", rate)
        self._since, self._samples = now, 0
