"""A language model's artifact in ``models/`` at the end of a fit."""

from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info

from callbacks.text_exporting import (
    TEXT_DEFAULT,
    check_text_formats,
    export_text,
    read_text_source,
)


class ExportText(pl.Callback):
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
        self.folder = Path(models) / name
        self.formats = list(formats)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.checkpoint_callback is None:
            raise ValueError("ExportText writes the best checkpoint: keep callbacks.BestAndLast")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.fast_dev_run or not trainer.is_global_zero:
            return
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if not best:
            raise ValueError("the fit left no checkpoint to export; train for an epoch at least")
        manifest = export_text(read_text_source(Path(best)), self.folder, self.formats)
        rank_zero_info(f"{self.folder}: {', '.join(manifest['files'])}")
