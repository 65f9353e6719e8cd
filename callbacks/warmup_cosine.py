"""The learning rate linearly up to its full value, then along half a cosine."""

import math

import lightning.pytorch as pl
from torch.optim import Optimizer, lr_scheduler

from callbacks.lr_scheduler import LRSchedulerCallback


class WarmupCosine(LRSchedulerCallback):
    """Linear warm-up and cosine decay over the optimizer steps of a run, as GPTs are trained.

    One :class:`torch.optim.lr_scheduler.LambdaLR`: its value depends on the step alone, where
    torch's chain of a LinearLR and a CosineAnnealingLR multiplies its way there and rounds.

    Source: T. Brown et al., Language Models are Few-Shot Learners, 2020, arXiv:2005.14165,
    appendix B.

    A ``fast_dev_run`` cuts a warm-up that is longer than its few steps.

    Args:
        warmup_steps: optimizer steps until the optimizer's own learning rate is reached; the
            first step already takes ``lr / warmup_steps``.
        min_ratio: the learning rate at the end, as a share of the full one.

    Raises:
        ValueError: a warm-up that is negative or as long as the run, a share outside 0 to 1.

    Example::

        callbacks+:
          - class_path: callbacks.WarmupCosine
            init_args: {warmup_steps: 100, min_ratio: 0.1}
    """

    needs_total = True

    def __init__(self, warmup_steps: int, min_ratio: float = 0.0) -> None:
        super().__init__("step")
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps must not be negative, got {warmup_steps}")
        if not 0 <= min_ratio <= 1:
            raise ValueError(f"min_ratio must lie between 0 and 1, got {min_ratio}")
        self.warmup_steps = warmup_steps
        self.min_ratio = min_ratio
        self._cuts = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._cuts = bool(trainer.fast_dev_run)
        super().on_fit_start(trainer, pl_module)

    def build(self, optimizer: Optimizer, total: int) -> lr_scheduler.LambdaLR:
        warmup = min(self.warmup_steps, total - 1) if self._cuts else self.warmup_steps
        if warmup >= total:
            raise ValueError(
                f"a warm-up of {warmup} steps does not fit into a run of {total}; lower "
                "warmup_steps or train longer"
            )

        def share(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            way = (step - warmup) / (total - warmup)
            return self.min_ratio + (1 - self.min_ratio) * 0.5 * (1 + math.cos(math.pi * way))

        return lr_scheduler.LambdaLR(optimizer, share)
