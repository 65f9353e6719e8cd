"""Progress for a pipe or a log file: one line per epoch."""

import math
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor


class PlainProgress(ProgressBar):
    """Prints ``epoch 2/5  train/loss 0.1012  val/acc 0.9734  8.1 s`` after every epoch.

    A progress bar redraws its line with control characters, which a file keeps. Scores of an
    earlier validation are not repeated in epochs without one. The training loss is the mean over
    the epoch's steps, in this process; what a logger gets is the loss of single steps.

    Args:
        every_n_epochs: epochs per line, for runs of very many short ones.
    """

    def __init__(self, every_n_epochs: int = 1) -> None:
        super().__init__()
        self.every_n_epochs = every_n_epochs
        self._enabled = True
        self._began = 0.0
        self._validated = False
        self._loss: Tensor | None = None  # sum over the steps of this epoch
        self._steps = 0

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def print(self, *args: object, **kwargs: object) -> None:
        if self._enabled:
            print(*args, flush=True)

    def on_train_start(self, *_: object) -> None:
        # A run resumed within an epoch has no on_train_epoch_start for the rest of it.
        self._began = time.perf_counter()
        self._loss, self._steps = None, 0

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: object) -> None:
        self._began = time.perf_counter()
        self._loss, self._steps = None, 0

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        outputs = outputs if isinstance(outputs, dict) else {"loss": outputs}
        if (loss := outputs.get("loss")) is None:  # a training_step that skipped its step
            return
        # A batch that held several optimizer steps comes with the loss of each of them; that of a
        # part of a step is already divided by the number of parts.
        parts = trainer.accumulate_grad_batches
        losses = outputs.get("losses", loss * parts if parts > 1 else loss)
        # A sum is memory of its own; a CUDA graph writes the next loss to where this one is.
        total = losses.detach().sum()
        self._loss = total if self._loss is None else self._loss + total
        self._steps += losses.numel()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = not trainer.sanity_checking

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs and epoch != trainer.max_epochs:
            return
        names = ("val/loss", "val/acc") if self._validated else ()
        self._validated = False
        metrics = {
            name: float(value) for name, value in trainer.callback_metrics.items() if name in names
        }
        if self._loss is not None:
            metrics["train/loss"] = float(self._loss) / self._steps
        values = "  ".join(f"{name} {rounded(value)}" for name, value in sorted(metrics.items()))
        seconds = time.perf_counter() - self._began
        self.print(f"epoch {epoch}/{trainer.max_epochs}  {values}  {seconds:.1f} s")


def rounded(value: float) -> str:
    """Four decimals; what they would not tell from 0, and what is large, with its exponent."""
    odd = 0 < abs(value) < 1e-3 or 1e6 <= abs(value) < math.inf
    return f"{value:.1e}" if odd else f"{value:.4f}"
