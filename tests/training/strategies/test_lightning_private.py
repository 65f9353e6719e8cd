"""The private attributes of Lightning that the strategies use are what they take them for."""

import re
from pathlib import Path

import lightning.pytorch as pl
import pytest

from datamodules import DigitsDataModule
from lightning_modules import MNISTMLP
from tests.conftest import ROOT, quiet_trainer
from training.strategies.lightning_private import PRIVATE, count_batches, count_steps


def in_a_fit(look) -> None:
    """Calls ``look`` with the Trainer after the third of five batches."""

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            if batch_idx == 2:
                look(trainer)

    trainer = quiet_trainer(max_epochs=1, limit_train_batches=5, callbacks=[Look()])
    trainer.fit(MNISTMLP(hidden=(8,)), datamodule=DigitsDataModule())


def test_every_name_is_there() -> None:
    def look(trainer: pl.Trainer) -> None:
        for owner, name in PRIVATE:
            assert hasattr(owner(trainer), name), name
        assert trainer.fit_loop._should_accumulate() is False
        assert trainer.fit_loop._skip_backward is False
        assert trainer.fit_loop.epoch_loop._batches_that_stepped == 2

    in_a_fit(look)


def test_counting_moves_what_the_trainer_shows() -> None:
    def look(trainer: pl.Trainer) -> None:
        assert (trainer.global_step, trainer.fit_loop.batch_idx) == (3, 2)
        count_batches(trainer, 1)
        count_steps(trainer, 1, 1)
        assert (trainer.global_step, trainer.fit_loop.batch_idx) == (4, 3)

    in_a_fit(look)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "training" / "strategies").glob("*.py")), ids=lambda p: p.name
)
def test_private_names_are_in_one_file(path: Path) -> None:
    used = re.findall(
        r"(?:trainer|fit_loop|epoch_loop|plugin|module|fetcher)\.(_[a-z]\w*)", path.read_text()
    )
    assert path.name == "lightning_private.py" or not used, used


def test_the_version_of_lightning_is_bounded() -> None:
    assert re.search(r'"lightning>=2\.6,<2\.7', (ROOT / "pyproject.toml").read_text())
