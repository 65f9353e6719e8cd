"""What callbacks add to a run's TensorBoard loggers."""

from collections.abc import Mapping
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure


def tensorboards(trainer: pl.Trainer) -> list[TensorBoardLogger]:
    """The run's TensorBoard loggers; usually one."""
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def add_figure(trainer: pl.Trainer, figure: Figure, tag: str, file: str = "") -> None:
    """Adds the figure as ``tag``, and writes it as ``file`` beside the event files if given."""
    for logger in tensorboards(trainer):
        if file:
            folder = Path(logger.log_dir)
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(folder / file, dpi=100)
        logger.experiment.add_figure(tag, figure, trainer.global_step)


def add_texts(trainer: pl.Trainer, texts: Mapping[str, str]) -> None:
    """Adds texts by their tags, line by line as they are."""
    for logger in tensorboards(trainer):
        for tag, text in texts.items():
            # Four blanks keep the lines as they are in Markdown.
            lines = text.replace("\n", "\n    ")
            logger.experiment.add_text(tag, f"    {lines}", trainer.global_step)
