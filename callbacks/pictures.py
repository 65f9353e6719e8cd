"""Where a callback's pictures go."""

from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure


def keep_figure(trainer: pl.Trainer, figure: Figure, name: str) -> None:
    """Adds the figure to TensorBoard as ``name`` and writes ``name.png`` beside its events."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            folder = Path(logger.log_dir)
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(folder / f"{name}.png", dpi=100)
            logger.experiment.add_figure(name, figure, trainer.global_step)
