"""The table of layers that a fit begins with."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichModelSummary
from lightning.pytorch.strategies.deepspeed import DeepSpeedStrategy
from lightning.pytorch.utilities.model_summary.model_summary import ModelSummary
from torch import nn
from torchmetrics import Metric, MetricCollection


class LayerSummary(RichModelSummary):
    """As Lightning's summary, without the metrics: they are modules, too, and not layers.

    Args:
        max_depth: levels of nested modules that are listed; -1 for all.
    """

    def __init__(self, max_depth: int = 2) -> None:
        super().__init__(max_depth)

    def _summary(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Any:
        if isinstance(trainer.strategy, DeepSpeedStrategy):
            return super()._summary(trainer, pl_module)
        return _Layers(pl_module, self._max_depth)


class _Layers(ModelSummary):
    @property
    def named_modules(self) -> list[tuple[str, nn.Module]]:
        return [(name, part) for name, part in super().named_modules if not _is_metric(part)]

    @property
    def total_training_modes(self) -> dict[str, int]:
        training = [p.training for p in self._model.modules() if not _is_metric(p)][1:]
        return {"train": sum(training), "eval": len(training) - sum(training)}


def _is_metric(part: nn.Module) -> bool:
    return isinstance(part, Metric | MetricCollection)
