"""TensorBoard's HParams page with the metrics of the run."""

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard.summary import hparams


class HParams(pl.Callback):
    """Lists the hyperparameters beside ``metrics`` on TensorBoard's HParams page.

    The page reads each metric from the scalar of the same name, so a run shows its validation
    accuracy while it trains and its test accuracy once it was tested, and never a placeholder.

    Args:
        metrics: names of logged scalars.
    """

    def __init__(self, metrics: tuple[str, ...] = ("val/acc", "test/acc")) -> None:
        self.metrics = metrics

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        values = dict(pl_module.hparams_initial)
        if trainer.datamodule is not None:
            values |= trainer.datamodule.hparams_initial
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in values.items()
            if not name.startswith("_")
        }
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                writer = logger.experiment._get_file_writer()
                for summary in hparams(plain, dict.fromkeys(self.metrics)):
                    writer.add_summary(summary)
