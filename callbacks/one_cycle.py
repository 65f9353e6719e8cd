"""The learning rate up to a peak and down to nearly nothing, once a run."""

from typing import Literal

from torch.optim import Optimizer, lr_scheduler

from callbacks.lr_scheduler import LRSchedulerCallback


class OneCycle(LRSchedulerCallback):
    """:class:`torch.optim.lr_scheduler.OneCycleLR` over the optimizer steps of a run.

    Source: L. N. Smith and N. Topin, Super-Convergence: Very Fast Training of Neural Networks
    Using Large Learning Rates, 2018, arXiv:1708.07120.

    Args:
        max_lr: learning rate at the peak; the optimizer's own (``lr`` of the model) if None.
        pct_start: share of the run before the peak.
        div_factor: the run starts at ``max_lr / div_factor``,
        final_div_factor: and ends at ``max_lr / div_factor / final_div_factor``.
        anneal_strategy: ``cos`` or ``linear``.
        cycle_momentum: move the momentum (Adam's first beta) against the learning rate, between
            0.95 and 0.85, as the paper does.

    Example::

        callbacks+:
          - class_path: callbacks.OneCycle
            init_args: {max_lr: 0.01}
    """

    needs_total = True

    def __init__(
        self,
        max_lr: float | None = None,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = False,
    ) -> None:
        super().__init__("step")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be cos or linear, got {anneal_strategy!r}")
        if max_lr is not None and max_lr <= 0:
            raise ValueError(f"max_lr must be above 0, got {max_lr}")
        self.max_lr = max_lr
        self.pct_start = pct_start
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum

    def build(self, optimizer: Optimizer, total: int) -> lr_scheduler.OneCycleLR:
        peaks = [float(group["lr"]) for group in optimizer.param_groups]
        if self.max_lr is not None:
            peaks = [self.max_lr] * len(peaks)
        return lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=peaks,
            total_steps=total,
            pct_start=self.pct_start,
            div_factor=self.div_factor,
            final_div_factor=self.final_div_factor,
            anneal_strategy=self.anneal_strategy,  # type: ignore[arg-type]
            cycle_momentum=self.cycle_momentum,
        )
