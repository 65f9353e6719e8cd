"""Fused optimizers and the Trainer's gradient clipping."""

from typing import TypeVar

from torch.optim import Optimizer

T = TypeVar("T", bound=Optimizer)


def clippable(optimizer: T) -> T:
    """Lets the Trainer clip gradients of a fused optimizer in mixed precision.

    A fused optimizer offers to undo the loss scaling of ``16-mixed`` itself, and for that offer
    Lightning refuses to clip, in ``bf16-mixed``, too, where no loss is scaled. Without the offer
    ``torch.amp.GradScaler`` undoes the scaling before the clipping, as for any other optimizer.
    """
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer
