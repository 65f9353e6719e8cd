"""Stops a run whose loss is no longer a number."""

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor


class NonFiniteLoss(ValueError):
    """The loss of a step is NaN or infinite."""


class FiniteLoss(pl.Callback):
    """Raises at the first loss that is NaN or infinite, before a checkpoint can be written.

    On the CPU every loss is looked at. Reading a value from a GPU waits for it, so there the losses
    are kept and looked at together every ``log_every_n_steps`` steps and before each checkpoint;
    the step that is named is exact all the same.

    Raises:
        NonFiniteLoss: names the optimizer step and what to change.
    """

    counts_chunks = True  # see training/strategies/chunks.py

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._steps: list[int] = []  # of each of the losses

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._losses.clear()
        self._steps.clear()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        outputs = outputs if isinstance(outputs, dict) else {"loss": outputs}
        loss, step = outputs.get("loss"), trainer.global_step
        if loss is None:  # a training_step that skipped its step
            return
        # A batch that held several optimizer steps comes with the loss of each of them.
        losses = outputs.get("losses", loss).detach().reshape(-1)
        if losses.device.type == "cpu" and len(losses) == 1:
            _refuse_infinite(losses.item(), step)
            return
        self._losses.append(losses)
        self._steps += range(step - len(losses) + 1, step + 1)
        every = trainer.log_every_n_steps
        if losses.device.type == "cpu" or step // every > (self._steps[0] - 1) // every:
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
        steps, self._steps = self._steps, []
        self._losses.clear()
        for step, value in zip(steps, values, strict=True):
            _refuse_infinite(value, step)


def _refuse_infinite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise NonFiniteLoss(
            f"the training loss is {loss} at step {step}; no checkpoint "
            "was written after that. Lower the learning rate, clip gradients "
            "(--trainer.gradient_clip_val 1.0) or look for bad input data"
        )
