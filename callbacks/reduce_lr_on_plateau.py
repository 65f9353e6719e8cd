"""The learning rate reduced when a metric stops getting better."""

from typing import Any, Literal

import lightning.pytorch as pl
from torch.optim import Optimizer, lr_scheduler

from callbacks.lr_scheduler import LRSchedulerCallback


class ReduceLROnPlateau(LRSchedulerCallback):
    """:class:`torch.optim.lr_scheduler.ReduceLROnPlateau` after every validation, as a callback.

    A run without validation data is looked at after every epoch. Lightning's own stepping comes
    after the epoch's checkpoint, so that a run resumed from it would miss one look at the metric;
    here it comes before.

    Args:
        monitor: the metric to watch.
        mode: ``min`` where lower is better, else ``max``.
        factor: the learning rate is multiplied by it.
        patience: validations without a better value that are let pass.
        threshold: relative change that counts as better.
        min_lr: the learning rate is not reduced below it.

    Raises:
        ValueError: a mode or factor that does not exist; a metric that is not logged.

    Example::

        callbacks+:
          - class_path: callbacks.ReduceLROnPlateau
            init_args: {monitor: val/loss, factor: 0.5, patience: 3}
    """

    def __init__(
        self,
        monitor: str = "val/loss",
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__("epoch")
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be min or max, got {mode!r}")
        if not 0 < factor < 1:
            raise ValueError(f"factor must lie between 0 and 1, got {factor}")
        self.monitor = monitor
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.min_lr = min_lr

    def build(self, optimizer: Optimizer, total: int) -> lr_scheduler.ReduceLROnPlateau:
        return lr_scheduler.ReduceLROnPlateau(
            optimizer,
            mode=self.mode,  # type: ignore[arg-type]
            factor=self.factor,
            patience=self.patience,
            threshold=self.threshold,
            min_lr=self.min_lr,
        )

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """A metric decides, not the number of steps."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Also called by the sanity check before training and by Trainer.validate.
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._look(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not sum(trainer.num_val_batches):
            self._look(trainer)

    def _look(self, trainer: pl.Trainer) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        if value is None:
            raise ValueError(
                f"ReduceLROnPlateau watches {self.monitor}, which this run does not log; it logs "
                f"{', '.join(sorted(trainer.callback_metrics)) or 'nothing'}"
            )
        self.scheduler.step(value)  # type: ignore[union-attr, call-arg]
