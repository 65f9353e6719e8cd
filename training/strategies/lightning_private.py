"""Every private attribute of Lightning that the strategies use, and the loop counters they set.

``pyproject.toml`` bounds the version of Lightning, and a test fails where one of the names below
has changed.
"""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl


def ends_step(trainer: pl.Trainer) -> bool:
    """Whether the optimizer steps after the current batch, the last batch of an epoch included."""
    return not trainer.fit_loop._should_accumulate()


def skips_backward(trainer: pl.Trainer) -> bool:
    """Whether this epoch computes no gradients, as StochasticWeightAveraging's last does."""
    return trainer.fit_loop._skip_backward


def close_step(plugin: Any, module: pl.LightningModule, optimizer: Any, closure: Any) -> Any:
    """Runs the closure, the hooks ``on_before_optimizer_step`` and the gradient clipping."""
    return plugin._wrap_closure(module, optimizer, closure)


def batch_hook(module: pl.LightningModule, name: str, *args: Any) -> Any:
    """Calls a transfer hook of the data module, or of the module where that has none."""
    return module._call_batch_hook(name, *args)


def count_batches(trainer: pl.Trainer, more: int) -> None:
    """Counts ``more`` batches as trained on."""
    fetcher = trainer.fit_loop._data_fetcher
    assert fetcher is not None
    fetcher.fetched += more
    progress = trainer.fit_loop.epoch_loop.batch_progress
    for counts in (progress.current, progress.total):
        _add(counts, ("ready", "started", "processed", "completed"), more)


def count_steps(trainer: pl.Trainer, more: int, zeroed: int) -> None:
    """Counts ``more`` optimizer steps as taken, and the gradients as zeroed ``zeroed`` times."""
    loop = trainer.fit_loop.epoch_loop
    progress = loop.automatic_optimization.optim_progress.optimizer
    for counts in (progress.step.current, progress.step.total):
        _add(counts, ("ready", "completed"), more)
    for counts in (progress.zero_grad.current, progress.zero_grad.total):
        _add(counts, ("ready", "started", "completed"), zeroed)
    loop._batches_that_stepped += more


def _add(counts: Any, names: tuple[str, ...], more: int) -> None:
    for name in names:
        setattr(counts, name, getattr(counts, name) + more)


# Where each private name is looked up, for the test: object of a Trainer that fits, and attribute.
PRIVATE: tuple[tuple[Callable[[pl.Trainer], Any], str], ...] = (
    (lambda trainer: trainer.fit_loop, "_should_accumulate"),
    (lambda trainer: trainer.fit_loop, "_skip_backward"),
    (lambda trainer: trainer.fit_loop, "_data_fetcher"),
    (lambda trainer: trainer.fit_loop._data_fetcher, "fetched"),
    (lambda trainer: trainer.fit_loop, "max_batches"),
    (lambda trainer: trainer.fit_loop.epoch_loop.batch_progress.current, "ready"),
    (lambda trainer: trainer.fit_loop.epoch_loop.batch_progress.total, "completed"),
    (lambda trainer: trainer.fit_loop.epoch_loop, "_batches_that_stepped"),
    (lambda trainer: trainer.fit_loop.epoch_loop.automatic_optimization, "optim_progress"),
    (lambda trainer: trainer.precision_plugin, "_wrap_closure"),
    (lambda trainer: trainer.lightning_module, "_call_batch_hook"),
    (lambda trainer: trainer.lightning_module, "_current_fx_name"),
)
