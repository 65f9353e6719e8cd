"""How exactly float32 matrices are multiplied while training."""

from typing import Literal

import lightning.pytorch as pl
import torch


class MatmulPrecision(pl.Callback):
    """Sets :func:`torch.set_float32_matmul_precision` while a model trains, and sets it back.

    With ``high`` a GPU multiplies float32 matrices in TF32, which keeps ten bits of the mantissa
    and is several times faster; its convolutions do so anyway. What comes after the training, such
    as an export that is compared with the net, is not touched.

    Args:
        precision: ``highest``, ``high`` or ``medium``.

    Raises:
        ValueError: another precision.

    Example::

        callbacks+:
          - class_path: callbacks.MatmulPrecision
    """

    def __init__(self, precision: Literal["highest", "high", "medium"] = "high") -> None:
        if precision not in ("highest", "high", "medium"):
            raise ValueError(f"precision must be highest, high or medium, got {precision!r}")
        self.precision = precision
        self._before: str | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self.precision)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restore()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            torch.set_float32_matmul_precision(self._before)
            self._before = None
