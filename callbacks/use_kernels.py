"""Kernels of one's own in a training run."""

import os
from typing import Literal

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from lightning_modules.nets.kernels import Kernels, check_only


class UseKernels(pl.Callback):
    """Trains the module's ``net`` with other implementations of its functions.

    Weights keep their names: checkpoints, exports and serving are as without it. Validation, and
    all that follows the fit, run the net as it is written. Beside ``callbacks.Compile`` torch
    compiles the net with the kernels in it.

    Args:
        ops: import path of a module of operators, such as ``course.kernels.ops``; what it may
            define stands at :class:`~lightning_modules.nets.kernels.Kernels`.
        only: names of the functions that are taken, such as ``[cross_entropy]``, each of which
            must be there and have a place in the net; otherwise all that have one.
        without_gpu: ``error`` refuses to run without a CUDA GPU, ``skip`` leaves the net as it is
            there.

    Attributes:
        kernels: what was replaced, from the fit's start on; None where nothing was.

    Raises:
        ValueError: a run that is neither on a CUDA GPU nor in Triton's interpreter, a module
            without ``net``, and what ``Kernels`` raises.

    Example::

        callbacks+:
          - class_path: callbacks.UseKernels
            init_args: {ops: course.kernels.ops}
    """

    def __init__(
        self,
        ops: str,
        only: list[str] | None = None,
        without_gpu: Literal["error", "skip"] = "error",
    ) -> None:
        if without_gpu not in ("error", "skip"):
            raise ValueError(f"without_gpu must be error or skip, got {without_gpu!r}")
        check_only(only)
        self.ops = ops
        self.only = only
        self.without_gpu = without_gpu
        self.kernels: Kernels | None = None

    # Before Triton is imported, which decides then where its kernels run.
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and self.without_gpu == "error" and not _can_run(trainer):
            raise ValueError(
                "callbacks.UseKernels needs a CUDA GPU; TRITON_INTERPRET=1 before the command runs "
                "the kernels in Triton's interpreter, which is slow"
            )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not _can_run(trainer):
            return
        net = getattr(pl_module, "net", None)
        if not isinstance(net, nn.Module):
            raise ValueError(
                f"{type(pl_module).__name__} has no net to replace anything in; take "
                "callbacks.UseKernels out"
            )
        self.kernels = Kernels(net, self.ops, self.only)
        rank_zero_info(f"Kernels of {self.ops}, by their places in the net: {self.kernels}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._switch(on=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._switch(on=False)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._switch(on=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._switch(on=False)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._switch(on=False)

    def _switch(self, on: bool) -> None:
        if self.kernels is not None:
            self.kernels.switch(on)


def _can_run(trainer: pl.Trainer) -> bool:
    """On a CUDA GPU, or in Triton's interpreter."""
    on_gpu = trainer.strategy.root_device.type == "cuda"
    return on_gpu or os.environ.get("TRITON_INTERPRET") == "1"
