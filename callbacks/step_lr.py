"""The learning rate multiplied by a factor every so often."""

from typing import Literal

from torch.optim import Optimizer, lr_scheduler

from callbacks.lr_scheduler import LRSchedulerCallback


class StepLR(LRSchedulerCallback):
    """:class:`torch.optim.lr_scheduler.StepLR` as a callback.

    Args:
        step_size: epochs (or optimizer steps) between two reductions.
        gamma: factor of a reduction.
        interval: ``epoch`` or ``step``.

    Raises:
        ValueError: ``step_size`` below 1 or ``gamma`` not above 0.

    Example::

        callbacks+:
          - class_path: callbacks.StepLR
            init_args: {step_size: 2, gamma: 0.5}
    """

    def __init__(
        self, step_size: int, gamma: float = 0.1, interval: Literal["step", "epoch"] = "epoch"
    ) -> None:
        super().__init__(interval)
        if step_size < 1:
            raise ValueError(f"step_size must be at least 1, got {step_size}")
        if gamma <= 0:
            raise ValueError(f"gamma must be above 0, got {gamma}")
        self.step_size = step_size
        self.gamma = gamma

    def build(self, optimizer: Optimizer, total: int) -> lr_scheduler.StepLR:
        return lr_scheduler.StepLR(optimizer, self.step_size, self.gamma)
