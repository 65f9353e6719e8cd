"""Progress for a pipe or a log file: one line an epoch."""

import time

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities import rank_zero_only


class PlainProgress(ProgressBar):
    """Prints ``epoch 2/5  train/loss 0.1012  val/acc 0.9734  8.1 s`` after every epoch.

    A progress bar redraws its line with control characters, which a file keeps.

    Args:
        every_n_epochs: epochs a line, for runs of very many short ones.
    """

    def __init__(self, every_n_epochs: int = 1) -> None:
        super().__init__()
        self.every_n_epochs = every_n_epochs
        self._enabled = True
        self._began = 0.0

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

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: object) -> None:
        self._began = time.perf_counter()

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs and epoch != trainer.max_epochs:
            return
        metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name in ("train/loss", "val/loss", "val/acc")
        }
        values = "  ".join(f"{name} {value:.4f}" for name, value in sorted(metrics.items()))
        seconds = time.perf_counter() - self._began
        self.print(f"epoch {epoch}/{trainer.max_epochs}  {values}  {seconds:.1f} s")
