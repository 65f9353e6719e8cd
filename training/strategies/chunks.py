"""Several batches per turn of the Trainer's loop, and what that rules out."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ProgressBar, Timer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from training.strategies.lightning_private import count_batches
from training.strategies.stepper import RowLoader

BATCH_HOOKS = ("on_train_batch_start", "on_train_batch_end")
STEP_HOOKS = (
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
MODULE_HOOKS = (
    *(*BATCH_HOOKS, *STEP_HOOKS),
    *("on_before_batch_transfer", "optimizer_step", "optimizer_zero_grad", "lr_scheduler_step"),
)


class Chunk(NamedTuple):
    """What the Trainer sees as one batch: the row numbers (N,) of batches of these sizes."""

    rows: Tensor
    sizes: list[int]


class ChunkLoader:
    """Yields several batches per turn of the Trainer's loop and counts each of them.

    A chunk begins and ends with an optimizer step. It ends where something else is due: a log, a
    validation, the last step or the end of the epoch.

    Args:
        loader: the train loader.
        trainer: the running Trainer, whose counters are set.
        most: most optimizer steps per turn.
    """

    def __init__(self, loader: RowLoader, trainer: pl.Trainer, most: int) -> None:
        self.loader = loader
        self.trainer = trainer
        self.most = most

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def batch_sampler(self) -> Any:
        """Where Lightning looks for ``set_epoch``."""
        return getattr(self.loader, "batch_sampler", None)

    def __iter__(self) -> Iterator[Chunk]:
        for batches in self.loader.chunks(self._room):
            count_batches(self.trainer, len(batches) - 1)
            yield Chunk(torch.cat(batches), [len(rows) for rows in batches])

    def state_dict(self) -> dict[str, Any]:
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loader.load_state_dict(state)

    def _room(self) -> int:
        """Batches of the next chunk."""
        trainer, accumulate = self.trainer, self.trainer.accumulate_grad_batches
        every = trainer.log_every_n_steps or self.most
        steps = min(self.most, every - trainer.global_step % every)
        if trainer.max_steps > 0:
            steps = min(steps, trainer.max_steps - trainer.global_step)
        ready = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        left = int(trainer.fit_loop.max_batches) - ready
        first = accumulate - ready % accumulate
        batches = min(left, first + (max(1, steps) - 1) * accumulate)
        validation = self._until_validation(ready)
        if validation < min(left, first) or (
            validation < left and (ready + validation) % accumulate
        ):
            raise ValueError(
                "several steps per turn cannot be validated within an optimizer step: make "
                "--trainer.val_check_interval (and, where it counts over epochs, the batches per "
                "epoch) a multiple of --trainer.accumulate_grad_batches, or set "
                "--trainer.strategy.init_args.steps_per_turn 1"
            )
        return int(min(batches, validation))

    def _until_validation(self, ready: int) -> float:
        trainer = self.trainer
        every = trainer.val_check_batch
        if not trainer.enable_validation or every is None or not math.isfinite(every):
            return math.inf
        over_epochs = trainer.check_val_every_n_epoch is None
        done = trainer.fit_loop.epoch_loop.batch_progress.total.ready if over_epochs else ready
        return int(every) - done % int(every)


def refuse_unseen_hooks(trainer: pl.Trainer) -> None:
    """Raises where something is to be called for every batch.

    A callback that does its work with fewer calls, counting by ``trainer.global_step``, says so
    with the class attribute ``counts_chunks = True``.

    Raises:
        ValueError: names the hook and who overrides it.
    """
    module, data = trainer.lightning_module, trainer.datamodule
    owners: list[tuple[Any, tuple[str, ...]]] = [(module, MODULE_HOOKS)]
    if data is not None:
        owners.append((data, ("on_before_batch_transfer",)))
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        known = isinstance(callback, ProgressBar | Timer) or getattr(
            callback, "counts_chunks", False
        )
        owners.append((callback, STEP_HOOKS if known else (*BATCH_HOOKS, *STEP_HOOKS)))
    for owner, hooks in owners:
        for hook in hooks:
            if is_overridden(hook, owner):
                raise ValueError(
                    f"{type(owner).__name__} overrides {hook}, which is not called for every batch "
                    "where the strategy takes several steps per turn; set "
                    "--trainer.strategy.init_args.steps_per_turn 1, or --trainer.strategy auto"
                )
    if any(config.interval == "step" for config in trainer.lr_scheduler_configs):
        raise ValueError(
            f"configure_optimizers of {type(module).__name__} returns a scheduler to be stepped "
            "after every step, and the strategy takes several per turn; use a callback such as "
            "callbacks.OneCycle, or set --trainer.strategy.init_args.steps_per_turn 1"
        )
