"""Test images with the predictions of a classifier."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor

from callbacks.tensorboard import add_figure, font_size

_SIDE = 1.25  # inches of an image
_SHORT, _LONGEST = 2, 14  # characters of class names: of eight to a row, and at all
_WIDTH = 0.62  # of a letter, as a share of the font's size


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
        columns: images per row, at most; half as many where the names are long.
        names: of the classes; their numbers if None.
    """
    names = names or [str(number) for number in range(probabilities.shape[1])]
    short = max(map(len, names)) <= _SHORT
    captions = _captions(probabilities, labels, names, " " if short else "\n")
    columns = max(3, min(columns if short else columns // 2, len(images)))  # a title's width
    rows = -(-len(images) // columns)
    lines = [caption.split("\n") for caption in captions]
    longest = max((len(line) for caption in lines for line in caption), default=1)
    title_size = font_size(columns * _SIDE)
    size = min(title_size, 72 * _SIDE / (_WIDTH * longest))
    row = _SIDE + 0.1 + max(map(len, lines), default=0) * 1.3 * size / 72
    height = max(rows, 1) * row + 2 * title_size / 72
    figure = Figure(figsize=(columns * _SIDE, height), layout="constrained")
    figure.suptitle(title, fontsize=title_size)
    for index, image in enumerate(images):
        axes = figure.add_subplot(rows, columns, index + 1, xticks=[], yticks=[])
        shown = image[0] if len(image) == 1 else image.permute(1, 2, 0).clamp(0, 1)
        axes.imshow(shown.numpy(), cmap="gray")
        right = probabilities[index].argmax() == labels[index]
        axes.set_title(captions[index], fontsize=size, color="black" if right else "crimson")
    return figure


def _captions(
    probabilities: Tensor, labels: Tensor, names: Sequence[str], between: str
) -> list[str]:
    """Prediction, its probability and, where it is wrong, the truth."""
    captions = []
    confidence, predicted = probabilities.max(dim=1)
    for share, guess, truth in zip(confidence, predicted, labels, strict=True):
        told = f"{_shortened(names[int(guess)])}{between}{share:.0%}"
        captions.append(told if guess == truth else f"{told}\nis {_shortened(names[int(truth)])}")
    return captions


def _shortened(name: str) -> str:
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
