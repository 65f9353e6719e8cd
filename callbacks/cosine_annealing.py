"""The learning rate along half a cosine, from its start to nearly nothing."""

from typing import Literal

from torch.optim import Optimizer, lr_scheduler

from callbacks.lr_scheduler import LRSchedulerCallback


class CosineAnnealing(LRSchedulerCallback):
    """:class:`torch.optim.lr_scheduler.CosineAnnealingLR` over the whole run, as a callback.

    Source: I. Loshchilov and F. Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts,
    2017, arXiv:1608.03983 (without the restarts).

    Args:
        min_lr: learning rate at the end.
        interval: ``step`` or ``epoch``.

    Example::

        callbacks+:
          - class_path: callbacks.CosineAnnealing
    """

    needs_total = True

    def __init__(self, min_lr: float = 0.0, interval: Literal["step", "epoch"] = "step") -> None:
        super().__init__(interval)
        if min_lr < 0:
            raise ValueError(f"min_lr must not be negative, got {min_lr}")
        self.min_lr = min_lr

    def build(self, optimizer: Optimizer, total: int) -> lr_scheduler.CosineAnnealingLR:
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=total, eta_min=self.min_lr)
