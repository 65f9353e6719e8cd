"""What the two export callbacks share: when they run, and on which checkpoint."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info

from exporting.commit import check_name, check_target
from exporting.replaced import describe_replaced, earlier_manifest


class ExportBest(pl.Callback, ABC):
    """Exports the best checkpoint of a fit at its end, in the first process.

    Args:
        name: the artifact's name, ``models/<name>``.
        models: folder of the artifacts.

    Raises:
        ValueError: the Trainer keeps no checkpoints, or the fit left none.
    """

    reads: str  # what an example of the model is
    written = False  # whether this fit's export is done

    def __init__(self, name: str, models: str) -> None:
        self.folder = Path(models) / name
        check_name(name)

    @abstractmethod
    def export(self, checkpoint: Path, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Any:
        """Writes ``self.folder`` and returns its manifest."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        check_target(self.folder)
        if trainer.checkpoint_callback is None:
            raise ValueError(
                f"{type(self).__name__} writes the best checkpoint: keep callbacks.BestAndLast"
            )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.fast_dev_run or not trainer.is_global_zero:
            return
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if not best:
            raise ValueError("the fit left no checkpoint to export; train for an epoch at least")
        before = earlier_manifest(self.folder)
        rank_zero_info(f"exporting to {self.folder} ...")
        manifest = self.export(Path(best), trainer, pl_module)
        self.written = True
        replaced = f"; replaced {describe_replaced(before, manifest)}" if before else ""
        rank_zero_info(f"{self.folder}: {', '.join(manifest['files'])}{replaced}")
