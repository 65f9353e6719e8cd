"""TensorBoard's HParams page with the metrics of the run."""

import os
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard.summary import hparams

from callbacks.lr_scheduler import LRSchedulerCallback
from callbacks.tensorboard import CurvesLogger, curve, tensorboards


class HParams(pl.Callback):
    """Lists the hyperparameters of a run on TensorBoard's HParams page; what is None is left out.

    A run does not know which of them differ between runs, so it says nothing about it: TensorBoard
    compares the runs that it shows and puts first what differs. It finds the metrics itself, too.

    Args:
        metrics: names of logged scalars, to have these alone beside the hyperparameters.
            TensorBoard then takes the columns from the first run that names some, compares
            nothing, and its diagrams leave out a run that lacks one of the metrics.
    """

    def __init__(self, metrics: tuple[str, ...] = ()) -> None:
        self.metrics = metrics
        self.values: dict[str, Any] = {}  # listed as well: what a sweep varies beyond the modules

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        values = _typed(pl_module.hparams_initial)
        if trainer.datamodule is not None:
            for name, value in _typed(trainer.datamodule.hparams_initial).items():
                # The data's context may be shorter than the model's.
                values[name if values.get(name, value) == value else f"data/{name}"] = value
        values |= _rate(trainer) | _length(trainer) | _settings(trainer) | self.values
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in values.items()
            if value is not None
        }
        for logger in tensorboards(trainer):
            writer = logger.experiment._get_file_writer()
            page, *session = hparams(plain, dict.fromkeys(self.metrics))
            if self.metrics:
                self._name_metrics(page, isinstance(logger, CurvesLogger))
                session.insert(0, page)
            for summary in session:
                writer.add_summary(summary)

    def _name_metrics(self, summary: Any, curves: bool) -> None:
        """Sets what torch leaves out of the page's description: names and folders of metrics."""
        plugin = summary.value[0].metadata.plugin_data
        page = HParamsPluginData.FromString(plugin.content)
        for name, column in zip(self.metrics, page.experiment.metric_infos, strict=True):
            column.display_name = name
            if curves:
                column.name.group, column.name.tag = curve(name)
        plugin.content = page.SerializeToString()


def _rate(trainer: pl.Trainer) -> dict[str, Any]:
    """Learning rate that the optimizer was made with, and what changes it during the run."""
    if len(trainer.optimizers) != 1:
        return {}
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    owners = [type(one).__name__ for one in callbacks if isinstance(one, LRSchedulerCallback)]
    owners += [type(one.scheduler).__name__ for one in trainer.lr_scheduler_configs]
    lr = trainer.optimizers[0].defaults.get("lr")
    rate = {} if lr is None else {"lr": float(lr)}
    return rate | {"schedule": ", ".join(owners) or "none"}


def _length(trainer: pl.Trainer) -> dict[str, int]:
    """The Trainer's limits of the run, of which -1 is none."""
    limits = {"max_epochs": trainer.max_epochs, "max_steps": trainer.max_steps}
    return {name: limit for name, limit in limits.items() if limit is not None and limit >= 0}


def _settings(trainer: pl.Trainer) -> dict[str, Any]:
    """Of the Trainer, what changes the result of a run; None where it is off."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    return {
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "gradient_clip_val": trainer.gradient_clip_val,
        "precision": trainer.precision,
        "seed_everything": seed and int(seed),
    }


def _typed(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters without LightningCLI's own notes, such as ``_class_path``."""
    return {name: value for name, value in hyperparameters.items() if not name.startswith("_")}
