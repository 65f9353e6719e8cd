"""A language model's artifact in ``models/`` at the end of a fit."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from callbacks.export_best import ExportBest
from exporting.text import (
    TEXT_DEFAULT,
    check_text_formats,
    export_text,
    read_text_source,
)


class ExportText(ExportBest):
    """Exports the best checkpoint of the fit, as ``gpu-learning export`` would.

    Args:
        name: the artifact's name, ``models/<name>``.
        formats: see ``gpu-learning export --help``.
        models: folder of the artifacts.

    Raises:
        ValueError: a format that does not exist, no checkpoint, or a file that does not do what
            the model does.

    Example::

        callbacks+:
          - class_path: callbacks.ExportText
            init_args: {name: mini_gpt, formats: [safetensors, gguf]}
    """

    reads = "tokens"

    def __init__(
        self, name: str, formats: tuple[str, ...] = TEXT_DEFAULT, models: str = "models"
    ) -> None:
        check_text_formats(formats)
        super().__init__(name, models)
        self.formats = list(formats)

    def export(self, checkpoint: Path, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Any:
        return export_text(read_text_source(checkpoint), self.folder, self.formats)
