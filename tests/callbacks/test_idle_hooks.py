"""A callback is called at the moments of a step that it overrides, and skipped at the others."""

import lightning.pytorch as pl

from callbacks import FiniteLoss
from callbacks.idle_hooks import STEP_HOOKS, skip_idle_hooks
from datamodules import DigitsDataModule
from lightning_modules import MNISTMLP
from tests.conftest import quiet_trainer


class Counts(pl.Callback):
    def __init__(self) -> None:
        self.calls = 0

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.calls += 1


def test_only_hooks_that_do_nothing_are_skipped() -> None:
    counts, loss = Counts(), FiniteLoss()
    skip_idle_hooks([counts, loss])
    assert [hook for hook in STEP_HOOKS if getattr(counts, hook)] == ["on_after_backward"]
    assert [hook for hook in STEP_HOOKS if getattr(loss, hook)] == ["on_train_batch_end"]
    trainer = quiet_trainer(max_epochs=1, limit_train_batches=7, callbacks=[counts, loss])
    trainer.fit(MNISTMLP(hidden=(8,)), datamodule=DigitsDataModule())
    assert counts.calls == 7
