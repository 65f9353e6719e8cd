"""Fits with a planted cause, profiled: on a CPU, and on a GPU where there is one."""

import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from callbacks import BestAndLast, CPUThreads, FiniteLoss, HParams, OneCycle, PlainProgress
from datamodules import DigitsDataModule
from lightning_modules import MNISTMLP
from tests.conftest import quiet_trainer
from tests.helpers.rehearsal import RehearsedStrategy
from training.profiling.counting import StepCounter
from training.profiling.division import divide
from training.profiling.recorder import WARMUP
from training.profiling.session import Session

STEPS = 6


class Rows(Dataset):
    def __init__(self, width: int, seconds: float = 0.0) -> None:
        self.width, self.seconds = width, seconds

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> Tensor:
        time.sleep(self.seconds)
        return torch.full((self.width,), 0.5)


class Planted(pl.LightningModule):
    """One layer, and in each step what ``cause`` says."""

    def __init__(self, cause: str, width: int = 8) -> None:
        super().__init__()
        self.cause = cause
        self.layer = nn.Linear(width, width)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        small = torch.zeros(4, device=self.device)
        if self.cause == "launches":
            for _ in range(500):
                small = small * 1.001 + 0.1
        elif self.cause == "memory":
            if batch_idx == 0:
                values = 100_000_000 if self.device.type == "cuda" else 2_000_000
                self.large = torch.zeros(values, device=self.device)
            for _ in range(30):
                self.large.mul_(1.001)
        elif self.cause == "host":
            time.sleep(0.02)
        return self.layer(batch).square().mean() + 0 * small.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def profiled(session: Session, module: pl.LightningModule, **data: Any) -> Any:
    session.trainer.fit(module, **data)
    return divide(session.recording(), session.measured)


@pytest.mark.parametrize("cause", ["data", "launches", "memory", "arithmetic", "host"])
def test_a_planted_cause_is_named(cause: str, device: str, workplace: Path) -> None:
    width, rows = 8, 4
    if cause == "arithmetic":
        width, rows = (8192, 4096) if device == "cuda" else (768, 256)
    loader = DataLoader(Rows(width, 0.01 if cause == "data" else 0.0), batch_size=rows)
    session = Session(quiet_trainer(max_epochs=1), STEPS, workplace / "trace.json")
    division = profiled(session, Planted(cause, width), train_dataloaders=loader)
    # The rows of the wide net come from a loader that a GPU waits for, too.
    compared = {name: share for name, share in division.parts.items() if name != "data"}
    limit = max(compared, key=lambda name: compared[name])
    assert (division.limit if cause != "arithmetic" else limit) == cause, division.parts
    assert sum(division.parts.values()) == pytest.approx(1.0)
    assert session.measured.device == device
    if device == "cuda":
        assert 0 < division.busy <= 1
        assert division.kernels > 0
    if cause == "launches":
        assert division.launches > 1000


def test_flops_and_bytes_of_a_step(device: str, workplace: Path) -> None:
    session = Session(quiet_trainer(max_epochs=1), 1, workplace / "trace.json")
    profiled(session, Planted("none", 64), train_dataloaders=DataLoader(Rows(64), batch_size=16))
    # Forward, and of the backward pass the weights' half: the rows need no gradient.
    assert session.measured.flops == 2 * 2 * 16 * 64 * 64
    assert session.measured.bytes > session.measured.product_bytes > 4 * 64 * 64


def test_bytes_are_those_of_inputs_and_outputs() -> None:
    left, right = torch.zeros(8, 16), torch.zeros(16, 4)
    with StepCounter() as counter:
        product = left @ right
        product.t().add_(1.0)
    sizes = [8 * 16, 16 * 4, 8 * 4]
    assert counter.product_bytes == 4 * sum(sizes)
    assert counter.bytes == counter.product_bytes + 2 * 4 * sizes[2]
    assert counter.flops == 2 * 8 * 16 * 4


def test_more_steps_than_an_epoch_has(workplace: Path) -> None:
    trainer = quiet_trainer(max_epochs=-1, limit_train_batches=4, min_epochs=50)
    session = Session(trainer, 10, workplace / "trace.json")
    profiled(session, MNISTMLP(hidden=(16,)), datamodule=DigitsDataModule())
    assert session.recording().steps == 10
    assert trainer.global_step == WARMUP + 10 + 1 + 10


def test_more_steps_than_the_fit_has(workplace: Path) -> None:
    session = Session(quiet_trainer(max_steps=9), 5, workplace / "trace.json")
    session.trainer.fit(MNISTMLP(hidden=(16,)), datamodule=DigitsDataModule())
    with pytest.raises(ValueError, match=r"ended after 9 batches.*--trainer.max_epochs"):
        session.recording()
    assert not session.trace.exists()


@pytest.mark.parametrize("at", [0, WARMUP + 1, WARMUP + STEPS + 3])
def test_a_fit_that_raises_leaves_no_profiler_on(at: int, workplace: Path) -> None:
    class Broken(Planted):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            if batch_idx == at:
                raise ValueError("the step is broken")
            return super().training_step(batch, batch_idx)

    session = Session(quiet_trainer(max_epochs=1), STEPS, workplace / "trace.json")
    loader = DataLoader(Rows(8), batch_size=4)
    with pytest.raises(ValueError, match="the step is broken"):
        session.trainer.fit(Broken("none"), train_dataloaders=loader)
    # Another one can begin, and counts only what is its own.
    again = Session(quiet_trainer(max_epochs=1), STEPS, workplace / "trace.json")
    profiled(again, Planted("none", 8), train_dataloaders=loader)
    assert again.measured.flops == 2 * 2 * 4 * 8 * 8


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps_are_refused(steps: int, workplace: Path) -> None:
    with pytest.raises(ValueError, match="at least 1 step"):
        Session(quiet_trainer(), steps, workplace / "trace.json")


def test_only_callbacks_of_a_step_take_part(workplace: Path) -> None:
    class Own(pl.Callback):
        def on_before_optimizer_step(self, *_: object) -> None:
            self.called = True

    own = Own()
    listed = [
        BestAndLast(),
        PlainProgress(),
        HParams(),
        FiniteLoss(),
        CPUThreads(),
        OneCycle(),
        own,
    ]
    trainer = quiet_trainer(callbacks=listed, max_epochs=1, logger=True)
    session = Session(trainer, 3, workplace / "trace.json")
    profiled(session, MNISTMLP(hidden=(16,)), datamodule=DigitsDataModule())
    assert {"BestAndLast", "PlainProgress", "HParams"} <= set(session.left_out)
    assert not {"FiniteLoss", "CPUThreads", "OneCycle", "Own"} & set(session.left_out)
    assert own.called
    assert [path.name for path in workplace.iterdir()].count("trace.json") == 1
    assert {path.name for path in workplace.iterdir()} == {"configs", "trace.json"}


@pytest.mark.parametrize("steps_per_turn", [1, 4])
def test_steps_of_graphs(steps_per_turn: int, device: str, workplace: Path) -> None:
    strategy = RehearsedStrategy(steps_per_turn=steps_per_turn)
    session = Session(quiet_trainer(max_epochs=3, strategy=strategy), 8, workplace / "trace.json")
    division = profiled(session, MNISTMLP(hidden=(32,)), datamodule=DigitsDataModule())
    assert session.recording().steps == 8
    per_row = 3 * 2 * (784 * 32 + 32 * 10) - 2 * 784 * 32
    assert session.measured.flops == pytest.approx(32 * per_row, rel=0.02)
    assert (session.measured.bytes is None) == (steps_per_turn > 1)
    assert math.isclose(sum(division.parts.values()), 1.0)
    if device == "cuda":
        assert division.launches < division.kernels
