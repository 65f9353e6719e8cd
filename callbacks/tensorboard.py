"""The run's TensorBoard logger, and what callbacks add to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from matplotlib.text import Text

VAL = "val"
# Pixels across at which TensorBoard shows an image, and how high a letter must then be.
_SHOWN, _LEGIBLE = 350, 10


class CurvesLogger(TensorBoardLogger):
    """As Lightning's, with the curves of training and validation in one chart.

    ``train/loss`` is written as ``curves/loss`` of the run, ``val/loss`` under the same tag into
    its folder ``val``: TensorBoard draws both in one chart, in two colors, and lists two runs.
    ``lr`` is ``curves/lr``; how fast a run trains is under
    ``speed/``, and the accuracy of each class in a test is under ``test_classes/``. ``epoch``,
    which Lightning adds to whatever is logged, is left out. All other names, such as ``test/acc``,
    stay as they are. TensorBoard unfolds the first two groups of charts.
    """

    _val: TensorBoardLogger | None = None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:  # type: ignore[override]
        for name, value in metrics.items():
            if name != "epoch":
                folder, tag = curve(name)
                where = self._of_val() if folder else super()
                where.log_metrics({tag: value}, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._val is not None:
            self._val.experiment.flush()
            self._val.experiment.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_val": None}

    def _of_val(self) -> TensorBoardLogger:
        if self._val is None:
            self._val = TensorBoardLogger(
                Path(self.log_dir) / VAL, name="", version="", prefix=self._prefix, **self._kwargs
            )
        return self._val


def curve(name: str) -> tuple[str, str]:
    """Folder within the run, "" for the run itself, and tag of a metric under a CurvesLogger."""
    stage, _, rest = name.partition("/")
    if rest == "mfu" or rest.endswith("_per_sec"):
        return "", f"speed/{rest}"
    if rest and stage in ("train", VAL):
        return (VAL if stage == VAL else ""), f"curves/{rest}"
    if stage == "test" and rest.startswith("acc_"):
        return "", f"test_classes/{rest}"
    return "", f"curves/{name}" if not rest or stage == "lr" else name


def tensorboards(trainer: pl.Trainer) -> list[TensorBoardLogger]:
    """The run's TensorBoard loggers; usually one."""
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def font_size(width: float) -> float:
    """Points for text in a figure of ``width`` inches that is read when TensorBoard shrinks it."""
    return max(10.0, 72 * width * _LEGIBLE / _SHOWN)


def enlarge_text(figure: Figure) -> Figure:
    """The figure, with no text smaller than that, ticks included."""
    size = font_size(figure.get_figwidth())
    for axes in figure.axes:
        axes.tick_params(labelsize=size)
    for text in figure.findobj(Text):
        text.set_fontsize(max(size, text.get_fontsize()))  # type: ignore[attr-defined]
    return figure


def add_figure(trainer: pl.Trainer, figure: Figure, tag: str, file: str = "") -> None:
    """Adds the figure as ``tag`` and writes it as ``file`` beside the event files, where given."""
    for logger in tensorboards(trainer):
        if file:
            folder = Path(logger.log_dir)
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(folder / file, dpi=100)
        if tag:
            logger.experiment.add_figure(tag, figure, trainer.global_step)


def add_texts(trainer: pl.Trainer, texts: Mapping[str, str]) -> None:
    """Adds texts by their tags, line by line as they are."""
    for logger in tensorboards(trainer):
        for tag, text in texts.items():
            # Four blanks keep the lines as they are in Markdown.
            lines = text.replace("\n", "\n    ")
            logger.experiment.add_text(tag, f"    {lines}", trainer.global_step)
