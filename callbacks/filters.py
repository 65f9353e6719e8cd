"""The weights of a first layer as images."""

import math

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from callbacks.tensorboard import tensorboards


def filter_images(weight: Tensor, most: int = 64) -> Tensor:
    """Filters (N, 3, H, W) of a first layer.

    Of gray images they are blue below zero, white at zero, red above; of color images each channel
    is shown as that color, with zero as middle gray.

    Args:
        weight: (out, C, h, w), C being 1 or 3, or (out, h * h) of a linear layer over a square.
        most: how many filters are drawn.
    """
    filters = weight.detach().float().cpu()[:most]
    if filters.ndim == 2:
        side = math.isqrt(filters.shape[1])
        filters = filters.reshape(len(filters), 1, side, side)
    filters = filters / filters.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    if filters.shape[1] == 1:
        colors = torch.cat(
            [1 + filters.clamp(max=0), 1 - filters.abs(), 1 - filters.clamp(min=0)], dim=1
        )  # (out, 3, h, w)
    else:
        colors = (filters + 1) / 2
    scale = max(1, 48 // max(filters.shape[2:]))
    colors = colors.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    return F.pad(colors, (2, 2, 2, 2), value=0.5)


def first_weight(module: pl.LightningModule) -> Tensor:
    """The weight of the first convolution or linear layer of ``module.net``, as (out, C, h, w).

    Raises:
        ValueError: it is not one over images.
    """
    layers = [part for part in module.net.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    shape = getattr(module, "image_shape", None) or (1, 28, 28)
    if layers:
        weight = layers[0].weight
        if weight.ndim == 2 and weight.shape[1] == math.prod(shape):
            weight = weight.reshape(len(weight), *shape)
        if weight.ndim == 4 and weight.shape[1] in (1, 3):
            return weight
    raise ValueError(
        f"the first layer of {type(module).__name__} has no filters over images of 1 or 3 channels "
        "to be drawn; take callbacks.FirstLayerFilters out of trainer.callbacks"
    )


class FirstLayerFilters(pl.Callback):
    """Adds ``images/filters`` to TensorBoard: before, every ``every_n_epochs`` epochs and last.

    Args:
        every_n_epochs: epochs between two images; one takes longer to draw than a GPU needs for
            an epoch of a small data set.

    Raises:
        ValueError: ``every_n_epochs`` below 1, or a first layer that has no filters.
    """

    reads = "images"

    def __init__(self, every_n_epochs: int = 1) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs must be at least 1, got {every_n_epochs}")
        self.every_n_epochs = every_n_epochs
        self._drawn = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._draw(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._drawn != trainer.global_step:
            self._draw(trainer, pl_module)

    @rank_zero_only
    def _draw(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._drawn = trainer.global_step
        weight = first_weight(pl_module)
        for logger in tensorboards(trainer):
            images, step = filter_images(weight), trainer.global_step
            logger.experiment.add_images("images/filters", images, step)
