"""The number of CPU threads: chosen from the work, asked for, or left alone."""

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from callbacks import CPUThreads
from callbacks.cpu_threads import VARIABLES, operations
from datamodules import DigitsDataModule
from lightning_modules import MNISTCNN, MNISTMLP
from tests.conftest import quiet_trainer


class Wide(MNISTMLP):
    """Its batch of 32 takes 3.3 billion operations."""

    def __init__(self) -> None:
        super().__init__(hidden=(7000, 6500))


class Watch(pl.Callback):
    """Threads at each training step and validation batch."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_train_batch_end(self, *_: object) -> None:
        self.seen.append(torch.get_num_threads())

    def on_validation_batch_end(self, *_: object) -> None:
        self.seen.append(torch.get_num_threads())


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(2)


def _fit(model: pl.LightningModule, callback: CPUThreads) -> list[int]:
    watch = Watch()
    trainer = quiet_trainer(
        callbacks=[callback, watch], max_steps=4, limit_val_batches=1, val_check_interval=2
    )
    trainer.fit(model, datamodule=DigitsDataModule())
    assert len(watch.seen) == 7  # one of them of the sanity check
    assert torch.get_num_threads() == 2
    return watch.seen


def test_a_small_net_takes_one_thread_on_a_cpu_from_start_to_end(device: str) -> None:
    assert set(_fit(MNISTCNN(), CPUThreads())) == {1 if device == "cpu" else 2}


def test_a_large_net_keeps_the_threads_of_torch() -> None:
    assert set(_fit(Wide(), CPUThreads())) == {2}


def test_an_asked_number_is_taken() -> None:
    assert set(_fit(Wide(), CPUThreads(threads=1))) == {1}
    assert set(_fit(MNISTCNN(), CPUThreads(threads=3))) == {3}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_of_the_user_is_respected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "2")
    assert set(_fit(MNISTCNN(), CPUThreads())) == {2}


@pytest.mark.parametrize(
    ("work", "said"),
    [(416, "416"), (9_300, "9.3 thousand"), (20e3, "20 thousand"), (21.3e6, "21 million")],
)
def test_the_work_is_told_in_a_unit_that_fits(work: float, said: str) -> None:
    assert operations(work) == said


def test_unknown_work_changes_nothing() -> None:
    model = MNISTCNN()
    model.example_input_array = None
    assert set(_fit(model, CPUThreads())) == {2}


def test_counting_leaves_generator_modes_and_statistics_as_they_were() -> None:
    class Normed(MNISTMLP):
        def __init__(self) -> None:
            super().__init__(hidden=(16,))
            self.norm = nn.BatchNorm2d(1)
            self.drop = nn.Dropout()
            self.calls: list[bool] = []

        def forward(self, x: Tensor) -> Tensor:
            self.calls.append(self.training)
            return super().forward(self.drop(self.norm(x)))

    class Before(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            model.drop.eval()
            self.state = torch.get_rng_state()

    class After(pl.Callback):
        def on_train_batch_start(self, *_: object) -> None:
            assert model.calls == [False]
            assert torch.equal(torch.get_rng_state(), before.state)
            assert int(model.norm.num_batches_tracked) == 0
            assert (model.training, model.drop.training) == (True, False)

    model, before = Normed(), Before()
    callbacks = [before, CPUThreads(), After()]
    trainer = quiet_trainer(callbacks=callbacks, max_steps=1, limit_val_batches=0)
    trainer.fit(model, datamodule=DigitsDataModule())
    assert model.calls == [False, True]


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_commands_without_a_fit(command: str) -> None:
    seen = []

    class See(pl.Callback):
        def on_validation_batch_end(self, *_: object) -> None:
            seen.append(torch.get_num_threads())

        on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    trainer = quiet_trainer(callbacks=[CPUThreads(), See()])
    getattr(trainer, command)(MNISTMLP(), datamodule=DigitsDataModule(eval_batch_size=50))
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2


def test_no_thread_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        CPUThreads(threads=0)


def test_the_command_says_it_once(gpu_learning, caplog: pytest.LogCaptureFixture) -> None:
    options = ("--trainer.max_steps=2", "--trainer.logger=false", "--trainer.callbacks=null")
    code, out, err = gpu_learning(*("fit", "-c", "configs/digits_cnn.yaml", *options))
    assert code == 0
    said = caplog.text + out + err
    assert said.count("1 of ") == 1
    assert "CPU threads: a batch of 21 million operations gains little from more" in said
    assert "--cpu_threads.threads N or OMP_NUM_THREADS=N" in said
