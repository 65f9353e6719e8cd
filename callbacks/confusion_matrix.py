"""The confusion matrix of a test as a figure."""

from collections.abc import Sequence
from typing import cast

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from callbacks.tensorboard import add_figure

_SHORT = 4  # characters of a name that is written level


def confusion_figure(counts: Tensor, names: Sequence[str] | None = None) -> Figure:
    """Draws counts (C, C), rows the truth and columns the prediction, shaded by share of a row.

    Args:
        counts: of test images.
        names: of the classes, in the order of ``counts``; their numbers if None.
    """
    counts = counts.cpu()
    classes = range(len(counts))
    share = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    side = max(5.0, 0.45 * len(counts))  # five inches: TensorBoard shrinks them little
    figure = Figure(figsize=(side, 0.915 * side), layout="constrained")
    axes = figure.add_subplot(
        xlabel="predicted", ylabel="true", xticks=list(classes), yticks=list(classes)
    )
    if names is not None and len(names) == len(counts):
        turned = 0 if max(map(len, names)) < _SHORT else 90
        axes.set_xticks(list(classes), labels=names, rotation=turned)
        axes.set_yticks(list(classes), labels=names)
    # A root brings out the few mistakes beside the many right answers.
    axes.imshow(share.sqrt().numpy(), cmap="Blues", vmin=0, vmax=1)
    for row in classes:
        for column in classes:
            if count := int(counts[row, column]):
                color = "white" if share[row, column] > 0.3 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=color)
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
        names = getattr(trainer.datamodule, "class_names", None)
        add_figure(trainer, confusion_figure(counts, names), "test/confusion")
