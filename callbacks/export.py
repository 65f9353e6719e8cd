"""An artifact in ``models/`` at the end of a fit."""

from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_info

from callbacks.exporting import DEFAULT, check_formats, export, fresh_copy, make_source


class Export(pl.Callback):
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
        device: str = "auto",
    ) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device must be auto, cpu or cuda, got {device!r}")
        self.folder = Path(models) / name
        self.formats = list(formats)
        self.device = device
        if device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        check_formats(self.formats, self.device)
        if trainer.datamodule is None:
            raise ValueError("Export compares with eager on test data: fit with a datamodule")
        if trainer.checkpoint_callback is None:
            raise ValueError("Export writes the best checkpoint: keep callbacks.BestAndLast")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.fast_dev_run or not trainer.is_global_zero:
            return
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if not best:
            raise ValueError("the fit left no checkpoint to export; train for an epoch at least")
        data = fresh_copy(trainer.datamodule)
        manifest = export(
            make_source(Path(best), type(pl_module), data), self.folder, self.formats, self.device
        )
        rank_zero_info(f"{self.folder}: {', '.join(manifest['files'])}")
