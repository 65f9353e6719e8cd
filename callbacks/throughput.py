"""Samples or tokens per second of the training loop, and the share of the GPU's peak."""

import math
import time
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_warn

from lightning_modules.flops import count_flops, peak_flops


class Throughput(pl.Callback):
    """Logs ``train/<unit>_per_sec`` every ``log_every_n_steps`` steps, over all processes.

    Lightning's ``ThroughputMonitor`` synchronizes the GPU at every step, which costs a small net
    more than the step itself; here the clock is read every ``log_every_n_steps`` steps only. The
    GPU may lag behind the host by the steps still queued, which the average over an interval hides.

    Beside it ``train/mfu``, the model FLOPs utilization: the operations of the module's forward and
    backward pass (counted once, before the fit, on one row) times the rows per second, divided by
    what the card can do per second in this precision. It is left out where that is not known (a
    CPU, a card that no table has), where the module has no ``example_input_array`` (rows of tokens
    need none), and where its weights are sharded.

    Args:
        unit: ``images``, one for each row of a batch's first tensor, or ``tokens``, as many for
            each row as the datamodule's ``context`` says.
        mfu: whether to count the operations and to log ``train/mfu``.
        peak_tflops: 10^12 operations per second and device; None for those of the card.

    Raises:
        ValueError: another unit, or a peak that is not above 0.
    """

    counts_chunks = True  # see training/strategies/chunks.py

    def __init__(
        self,
        unit: Literal["images", "tokens"] = "images",
        mfu: bool = True,
        peak_tflops: float | None = None,
    ) -> None:
        if unit not in ("images", "tokens"):
            raise ValueError(f"unit must be images or tokens, got {unit!r}")
        if peak_tflops is not None and not 0 < peak_tflops < math.inf:
            raise ValueError(f"peak_tflops must be a number above 0, got {peak_tflops}")
        self.unit = unit
        self.mfu = mfu
        self.peak_tflops = peak_tflops
        self._since: float | None = None
        self._samples = 0
        self._looked = 0
        self._width = 1
        self._flops: float | None = None  # per image or token

    # The module is on its device, and no callback has compiled it yet.
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.unit == "tokens":
            self._width = trainer.datamodule.context
        self._flops = None
        whole = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
        if not self.mfu or not whole or self._peak(trainer) is None:
            return
        example = pl_module.example_input_array
        if self.unit == "tokens":
            # What attention costs per token depends on the length of the data's rows.
            example = torch.zeros(1, self._width, dtype=torch.long)
        if example is not None:
            try:
                flops = count_flops(pl_module, example, trainer.precision_plugin, backward=True)
            except Exception as error:  # whatever a module's forward raises must not stop the run
                rank_zero_warn(
                    f"train/mfu is left out: forward cannot be run on one row ({error}); "
                    "--throughput.mfu false takes it out without this message",
                    category=UserWarning,
                )
                return
            self._flops = flops / self._width

    def _peak(self, trainer: pl.Trainer) -> float | None:
        if self.peak_tflops is not None:
            return self.peak_tflops * 1e12
        return peak_flops(trainer.strategy.root_device, str(trainer.precision))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = None
        self._looked = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._samples += len(batch[0]) * self._width
        # A batch may hold several optimizer steps, so the due one is passed rather than met.
        every, step = trainer.log_every_n_steps, trainer.global_step
        due, self._looked = step // every > self._looked // every, step
        if not due and self._since is not None:
            return
        now = time.perf_counter()
        if self._since is not None:
            rate = self._samples / (now - self._since)
            pl_module.log(f"train/{self.unit}_per_sec", rate * trainer.world_size)
            # Asked here, because a callback may have set the precision of matrix products.
            if self._flops is not None and (peak := self._peak(trainer)) is not None:
                pl_module.log("train/mfu", rate * self._flops / peak)
        self._since, self._samples = now, 0
