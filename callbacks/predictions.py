"""Test images with the predictions of a classifier."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor

from callbacks.tensorboard import add_figure

_SHORT, _LONGEST = 6, 16  # characters of class names: in the large font, and at all


def prediction_figure(
    images: Tensor,
    probabilities: Tensor,
    labels: Tensor,
    title: str,
    columns: int = 8,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draws images with prediction, its probability and, where it is wrong, the truth.

    Args:
        images: (N, 1, H, W), or (N, 3, H, W) in [0, 1].
        probabilities: (N, C).
        labels: (N,).
        title: title of the figure.
        columns: images per row, at most.
        names: of the classes; their numbers if None.
    """
    names = names or [str(number) for number in range(probabilities.shape[1])]
    confidence, predicted = probabilities.max(dim=1)
    columns = max(3, min(columns, len(images)))  # three are as wide as the title
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(columns * 1.25, max(rows, 1) * 1.55 + 0.5), layout="constrained")
    figure.suptitle(title)
    for index, image in enumerate(images):
        axes = figure.add_subplot(rows, columns, index + 1, xticks=[], yticks=[])
        shown = image[0] if len(image) == 1 else image.permute(1, 2, 0).clamp(0, 1)
        axes.imshow(shown.numpy(), cmap="gray")
        right = predicted[index] == labels[index]
        caption = f"{_short(names[int(predicted[index])])}  {confidence[index]:.0%}"
        if not right:
            caption += f"\nis {_short(names[int(labels[index])])}"
        size = 10 if max(map(len, names)) < _SHORT else 7
        axes.set_title(caption, fontsize=size, color="black" if right else "crimson")
    return figure


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}\u2026"


class PredictionFigures(pl.Callback):
    """Adds ``test/predictions`` and ``test/mistakes`` to TensorBoard and, as PNG, to the run.

    ``predictions`` shows the first test images, ``mistakes`` those that the net got wrong with the
    highest confidence. The PNG files lie beside the run's event files. With several processes
    they show the images of the first one.

    Args:
        count: images per figure.
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
        if not isinstance(probabilities, Tensor) or probabilities.ndim != 2:
            raise ValueError(
                f"callbacks.PredictionFigures draws the probabilities (B, classes) that test_step "
                f"returns, and that of {type(pl_module).__name__} returns "
                f"{type(outputs).__name__}; return logits.softmax(dim=1), or take the callback out"
            )
        images = _displayed(trainer, images)
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
        names = getattr(trainer.datamodule, "class_names", None)
        figures = {
            "predictions": prediction_figure(
                *_join(self._first), title="First test images", names=names
            ),
            "mistakes": prediction_figure(
                *(images[rows], probabilities[rows], labels[rows]),
                title="Most confident mistakes",
                names=names,
            ),
        }
        for name, figure in figures.items():
            add_figure(trainer, figure, f"test/{name}", f"{name}.png")


def _displayed(trainer: pl.Trainer, images: Tensor) -> Tensor:
    """Color images as they were before their normalization; gray ones are scaled anyway."""
    mean, std = (getattr(trainer.datamodule, name, None) for name in ("mean", "std"))
    if images.shape[1] == 1 or mean is None or std is None:
        return images
    mean, std = (torch.tensor(one, device=images.device).reshape(-1, 1, 1) for one in (mean, std))
    return images.float() * std + mean


def _join(parts: list[tuple[Tensor, ...]]) -> list[Tensor]:
    return [torch.cat(tensors).cpu() for tensors in zip(*parts, strict=True)]
