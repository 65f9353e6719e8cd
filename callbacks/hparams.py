"""TensorBoard's HParams page with the metrics of the run."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard.summary import hparams

from callbacks.tensorboard import tensorboards


class HParams(pl.Callback):
    """Lists the hyperparameters beside ``metrics`` on TensorBoard's HParams page.

    The page reads each metric from the scalar of the same name, so a run shows its validation
    accuracy while it trains and its test accuracy once it was tested, and never a placeholder.

    Args:
        metrics: names of logged scalars.
    """

    def __init__(self, metrics: tuple[str, ...] = ("val/acc", "test/acc")) -> None:
        self.metrics = metrics
        self.values: dict[str, Any] = {}  # listed as well: what a sweep varies beyond the modules

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        values = _typed(pl_module.hparams_initial)
        if trainer.datamodule is not None:
            for name, value in _typed(trainer.datamodule.hparams_initial).items():
                # The data's context may be shorter than the model's.
                values[name if values.get(name, value) == value else f"data/{name}"] = value
        values |= self.values
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in values.items()
        }
        for logger in tensorboards(trainer):
            writer = logger.experiment._get_file_writer()
            for summary in hparams(plain, dict.fromkeys(self.metrics)):
                writer.add_summary(summary)


def _typed(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters without LightningCLI's own notes, such as ``_class_path``."""
    return {name: value for name, value in hyperparameters.items() if not name.startswith("_")}
