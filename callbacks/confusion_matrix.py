"""The confusion matrix of a test as a picture."""

from typing import cast

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix


def confusion_figure(counts: Tensor) -> Figure:
    """Draws counts (C, C), rows the truth and columns the prediction, shaded by share of a row."""
    counts = counts.cpu()
    classes = range(len(counts))
    share = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    figure = Figure(figsize=(7, 6.4), layout="constrained")
    axes = figure.add_subplot(
        xlabel="predicted", ylabel="true", xticks=list(classes), yticks=list(classes)
    )
    # A root brings out the few mistakes beside the many right answers.
    axes.imshow(share.sqrt().numpy(), cmap="Blues", vmin=0, vmax=1)
    for row in classes:
        for column in classes:
            if count := int(counts[row, column]):
                colour = "white" if share[row, column] > 0.3 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour)
    right = int(counts.diagonal().sum())
    axes.set_title(f"{right} of {int(counts.sum())} right")
    return figure


class ConfusionMatrixFigure(pl.Callback):
    """Adds ``test/confusion`` to TensorBoard, from the ``confusion`` metric of the module."""

    reads = "images"

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Every process takes part in the sum; one draws.
        metric = cast(MulticlassConfusionMatrix, pl_module.confusion)
        self._draw(trainer, metric.compute())

    @rank_zero_only
    def _draw(self, trainer: pl.Trainer, counts: Tensor) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(
                    "test/confusion", confusion_figure(counts), trainer.global_step
                )
