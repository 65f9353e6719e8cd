"""Stops a run whose loss is no longer a number."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor


class FiniteLoss(pl.Callback):
    """Raises at the first loss that is NaN or infinite, before a checkpoint can be written.

    On the CPU every loss is looked at. Reading a value from a GPU waits for it, so there the losses
    are kept and looked at together every ``log_every_n_steps`` steps and before each checkpoint;
    the step that is named is exact all the same.

    Raises:
        ValueError: names the optimiser step and what to change.
    """

    counts_chunks = True  # see strategies/chunks.py

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._first = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._losses.clear()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if outputs is None:
            return
        outputs = outputs if isinstance(outputs, dict) else {"loss": outputs}
        # A batch that held several optimiser steps comes with the loss of each of them.
        losses = outputs.get("losses", outputs["loss"]).detach().reshape(-1)
        step = trainer.global_step
        if not self._losses:
            self._first = step - len(losses) + 1
        self._losses.append(losses)
        every = trainer.log_every_n_steps
        if losses.device.type == "cpu" or step // every > (self._first - 1) // every:
            self._check()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._check()

    def _check(self) -> None:
        if not self._losses:
            return
        values = torch.cat(self._losses).tolist()
        self._losses.clear()
        for offset, value in enumerate(values):
            if not abs(value) < float("inf"):
                raise ValueError(
                    f"the training loss is {value} at step {self._first + offset}; no checkpoint "
                    "was written after that. Lower the learning rate, clip gradients "
                    "(--trainer.gradient_clip_val 1.0) or look for bad input data"
                )
