"""Pictures of what a classifier says about test images."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor


def prediction_figure(
    images: Tensor, probabilities: Tensor, labels: Tensor, title: str, columns: int = 8
) -> Figure:
    """Draws images with prediction, its probability and, where it is wrong, the truth.

    Args:
        images: (N, 1, H, W).
        probabilities: (N, C).
        labels: (N,).
        title: title of the figure.
        columns: images a row.
    """
    confidence, predicted = probabilities.max(dim=1)
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(columns * 1.25, max(rows, 1) * 1.55 + 0.5), layout="constrained")
    figure.suptitle(title)
    for index, image in enumerate(images):
        axes = figure.add_subplot(rows, columns, index + 1, xticks=[], yticks=[])
        axes.imshow(image[0].numpy(), cmap="gray")
        right = predicted[index] == labels[index]
        caption = f"{predicted[index]}  {confidence[index]:.0%}"
        if not right:
            caption += f"\nis {labels[index]}"
        axes.set_title(caption, fontsize=10, color="black" if right else "crimson")
    return figure


class PredictionFigures(pl.Callback):
    """Adds ``test/predictions`` and ``test/mistakes`` to TensorBoard and, as PNG, to the run.

    ``predictions`` shows the first test images, ``mistakes`` those that the net got wrong with the
    highest confidence. The PNG files lie beside the run's event files. With several processes the
    pictures are of the first one's share.

    Args:
        count: images a figure.
    """

    reads = "images"

    def __init__(self, count: int = 32) -> None:
        self.count = count

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._first: list[tuple[Tensor, ...]] = []
        self._wrong: list[tuple[Tensor, ...]] = []

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        images, labels = batch
        probabilities = outputs
        if batch_idx == 0:
            self._first.append(tuple(t[: self.count] for t in (images, probabilities, labels)))
        confidence, predicted = probabilities.max(dim=1)
        confidence = confidence.masked_fill(predicted == labels, -1.0)
        worst = confidence.topk(min(self.count, len(labels)))
        rows = worst.indices[worst.values >= 0]
        self._wrong.append((images[rows], probabilities[rows], labels[rows]))

    @rank_zero_only
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        images, probabilities, labels = _join(self._wrong)
        rows = probabilities.amax(dim=1).topk(min(self.count, len(labels))).indices
        figures = {
            "predictions": prediction_figure(*_join(self._first), title="First test images"),
            "mistakes": prediction_figure(
                images[rows], probabilities[rows], labels[rows], title="Most confident mistakes"
            ),
        }
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for name, figure in figures.items():
                    figure.savefig(Path(logger.log_dir) / f"{name}.png", dpi=100)
                    logger.experiment.add_figure(f"test/{name}", figure, trainer.global_step)


def _join(parts: list[tuple[Tensor, ...]]) -> list[Tensor]:
    return [torch.cat(tensors).cpu() for tensors in zip(*parts, strict=True)]
