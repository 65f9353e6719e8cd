"""The weights of a first layer as pictures."""

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torchvision.utils import make_grid


def filter_grid(weight: Tensor, most: int = 64) -> Tensor:
    """Grid (3, H, W) of the filters of a first layer, blue below zero, white at zero, red above.

    Args:
        weight: (out, 1, k, k) of a convolution, or (out, k * k) of a linear layer over an image.
        most: how many filters are drawn.
    """
    side = int(weight[0].numel() ** 0.5)
    filters = weight.detach().float().cpu().reshape(len(weight), side, side)[:most]
    filters = filters / filters.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    colours = torch.stack(
        [1 + filters.clamp(max=0), 1 - filters.abs(), 1 - filters.clamp(min=0)], dim=1
    )  # (out, 3, k, k)
    scale = max(1, 48 // side)
    colours = colours.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    return make_grid(colours, nrow=8, padding=4, pad_value=0.5)


class FirstLayerFilters(pl.Callback):
    """Adds ``filters`` to TensorBoard before training and after every ``every_n_epochs`` epochs.

    Args:
        every_n_epochs: epochs between two images; one takes longer to draw than a GPU needs for
            an epoch of a small data set.

    Raises:
        ValueError: ``every_n_epochs`` below 1.
    """

    reads = "images"

    def __init__(self, every_n_epochs: int = 1) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs must be at least 1, got {every_n_epochs}")
        self.every_n_epochs = every_n_epochs

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._draw(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._draw(trainer, pl_module)

    @rank_zero_only
    def _draw(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        weight = next(pl_module.net.parameters())
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("filters", filter_grid(weight), trainer.global_step)
