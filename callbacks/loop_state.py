"""Where in an epoch Lightning's loops stand, and what a checkpoint says of it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as pl


def validation_is_due(trainer: pl.Trainer) -> bool:
    """Whether this batch is followed by a validation, in a run that is not stopped as well."""
    every, epochs = trainer.val_check_batch, trainer.check_val_every_n_epoch
    if not trainer.enable_validation or every is None or not math.isfinite(every):
        return False
    if epochs is not None and (trainer.current_epoch + 1) % epochs:
        return False
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return (progress.total if epochs is None else progress.current).ready % every == 0


@contextmanager
def within_epoch(trainer: pl.Trainer) -> Iterator[None]:
    """A checkpoint written meanwhile says that the epoch is not over."""
    progress = trainer.fit_loop.epoch_progress
    for counts in (progress.total, progress.current):
        counts.processed -= 1
    try:
        yield
    finally:
        for counts in (progress.total, progress.current):
            counts.processed += 1


@contextmanager
def before_validation(trainer: pl.Trainer) -> Iterator[None]:
    """A run that resumes from a checkpoint written meanwhile begins with the whole validation."""
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    before = progress.state_dict()
    progress.reset_on_run()
    for counts in (progress.total, progress.current):
        # Where Lightning says that a validation was begun.
        counts.ready = counts.started = counts.completed + 1
        counts.processed = counts.completed
    try:
        yield
    finally:
        progress.load_state_dict(before)
