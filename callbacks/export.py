"""An artifact in ``models/`` at the end of a fit."""

from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch

from callbacks.export_best import ExportBest
from exporting.images import DEFAULT, check_formats, export, fresh_copy, make_source


class Export(ExportBest):
    """Exports the best checkpoint of the fit, as ``gpu-learning export`` would.

    Every file is read back by a fresh process and compared with eager on the test split, which
    decides nothing else. What cannot be exported here is refused before the training begins.

    Args:
        name: the artifact's name, ``models/<name>``.
        formats: see ``gpu-learning export --help``.
        models: folder of the artifacts.
        device: ``cpu`` or ``cuda`` for the formats that are built for a processor; ``auto`` takes
            the GPU where there is one.

    Raises:
        ValueError: a format that cannot be written here, no checkpoint, no datamodule, or a file
            that does not do what the model does.

    Example::

        callbacks+:
          - class_path: callbacks.Export
            init_args: {name: mnist_cnn, formats: [onnx, torchscript]}
    """

    reads = "images"

    def __init__(
        self,
        name: str,
        formats: tuple[str, ...] = DEFAULT,
        models: str = "models",
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device must be auto, cpu or cuda, got {device!r}")
        super().__init__(name, models)
        self.formats = list(formats)
        self.device = device
        if device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        check_formats(self.formats, self.device)
        if trainer.datamodule is None:
            raise ValueError("Export compares with eager on test data: fit with a datamodule")
        super().on_fit_start(trainer, pl_module)

    def export(self, checkpoint: Path, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Any:
        source = make_source(checkpoint, type(pl_module), fresh_copy(trainer.datamodule))
        return export(source, self.folder, self.formats, self.device)
