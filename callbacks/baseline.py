"""What a model scores before it has learned anything."""

import math

import lightning.pytorch as pl


class Baseline(pl.Callback):
    """Logs the validation of the weights that a fit begins with, at step 0.

    The curves of ``val/loss`` and all else that a validation logs then begin with what a pretrained
    model is worth as it is. It is Lightning's check before the training, over all of the validation
    data, so it asks for ``num_sanity_val_steps: -1``; a resumed run has its baseline already.
    ``scores`` keeps the values.

    Raises:
        ValueError: the check is off, or looks at a part of the data only.

    Example::

        trainer:
          num_sanity_val_steps: -1
          callbacks+:
            - class_path: callbacks.Baseline
    """

    def __init__(self) -> None:
        self.scores: dict[str, float] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        whole = trainer.num_sanity_val_steps == math.inf
        if stage == "fit" and not whole and not trainer.fast_dev_run:
            raise ValueError(
                "Baseline scores the whole validation data before the training: set "
                "--trainer.num_sanity_val_steps -1"
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            found = trainer.callback_metrics.items()
            self.scores = {name: value.item() for name, value in found}
            for logger in trainer.loggers:
                logger.log_metrics(self.scores, step=0)
