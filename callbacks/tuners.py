"""Lightning's tuners, which save and restore a checkpoint of their own within a fit."""

from pathlib import Path

import lightning.pytorch as pl


def restores_own(trainer: pl.Trainer) -> bool:
    """Whether LearningRateFinder or BatchSizeFinder goes back to where its search began."""
    name = Path(str(trainer.ckpt_path)).name
    return name.startswith((".lr_find_", ".scale_batch_size_"))
