"""Rows per second, and the share of a peak that they are."""

import itertools
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch

from callbacks import Throughput
from datamodules import CharTextDataModule, DigitsDataModule
from lightning_modules import MNISTCNN, MNISTMLP, MiniGPT
from tests.conftest import quiet_trainer
from tests.helpers.rehearsal import RehearsedStrategy

# One row of 784-32-10, forward and backward: the first layer has no gradient of its input.
MLP = 3 * 2 * (784 * 32 + 32 * 10) - 2 * 784 * 32


class Logged(pl.Callback):
    """What was logged at each step, before the next one replaces it."""

    counts_chunks = True

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if "train/mfu" in values or any("per_sec" in name for name in values):
            self.seen.append(values)


def fit(
    throughput: Throughput, model: pl.LightningModule, data: object = None, **options
) -> Logged:
    logged = Logged()
    settings = {"max_epochs": 1, "log_every_n_steps": 5, "limit_val_batches": 0} | options
    trainer = quiet_trainer(callbacks=[throughput, logged], **settings)
    trainer.fit(model, datamodule=data or DigitsDataModule())
    assert logged.seen
    return logged


@pytest.mark.parametrize("processes", [1, 3])
def test_a_rate_counts_the_rows_since_the_one_before(
    monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """By a clock on which a second passes from one look to the next."""
    clock = SimpleNamespace(perf_counter=map(float, itertools.count()).__next__)
    monkeypatch.setattr("callbacks.throughput.time", clock)
    monkeypatch.setattr(pl.Trainer, "world_size", processes)
    data = DigitsDataModule(batch_size=32)
    logged = fit(Throughput(), MNISTMLP(hidden=(16,)), data, limit_train_batches=12)
    rates = [values["train/images_per_sec"] for values in logged.seen]
    # The first batch starts the clock.
    assert list(dict.fromkeys(rates)) == [processes * 4 * 32, processes * 5 * 32]


def test_mfu_is_the_hand_count_times_the_rate_over_the_peak(device: str) -> None:
    for values in fit(Throughput(peak_tflops=0.5), MNISTMLP(hidden=(32,))).seen:
        expected = values["train/images_per_sec"] * MLP / 0.5e12
        assert values["train/mfu"] == pytest.approx(expected, rel=0.02)


def test_of_tokens_the_rows_are_as_long_as_those_of_the_data(device: str) -> None:
    """The model could see twice as many, which would cost attention more per token."""
    data = CharTextDataModule(context=32, batches=20, batch_size=4)
    model = MiniGPT(context=64, width=128, layers=1, heads=2, output_projection=True)
    for values in fit(Throughput("tokens", peak_tflops=1.0), model, data).seen:
        matrices = 12 * 128**2 + 128 * model.net.config.vocab_size
        expected = values["train/tokens_per_sec"] * (6 * matrices + 12 * 32 * 128) / 1e12
        assert values["train/mfu"] == pytest.approx(expected, rel=0.02)


def test_a_forward_that_cannot_be_counted_does_not_stop_the_run(device: str) -> None:
    class Two(MNISTMLP):
        def forward(self, x: torch.Tensor, more: float | None = None) -> torch.Tensor:
            if more is None:
                raise TypeError("forward needs more")
            return super().forward(x)

        def training_step(self, batch, batch_idx):
            return torch.nn.functional.cross_entropy(self(batch[0], 1.0), batch[1])

    with pytest.warns(UserWarning, match="train/mfu is left out.*forward needs more"):
        logged = fit(Throughput(peak_tflops=1.0), Two(), enable_model_summary=False)
    assert "train/images_per_sec" in logged.seen[-1]
    assert "train/mfu" not in logged.seen[-1]


@pytest.mark.parametrize("callback", [Throughput(mfu=False, peak_tflops=1.0), Throughput()])
def test_without_it_or_without_a_peak_nothing_is_counted(
    callback: Throughput, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MNISTMLP(hidden=(16,))
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    logged = fit(callback, model, max_steps=10, max_epochs=-1)
    assert len(passes) == 10
    assert all("train/mfu" not in values for values in logged.seen)


def test_a_module_without_an_example_has_none(device: str) -> None:
    model = MNISTMLP(hidden=(16,))
    model.example_input_array = None
    assert "train/mfu" not in fit(Throughput(peak_tflops=1.0), model).seen[-1]


def test_counting_changes_no_weight(device: str) -> None:
    weights = []
    for callback in (Throughput(mfu=False), Throughput(peak_tflops=1.0)):
        pl.seed_everything(1, verbose=False)
        model = MNISTCNN()
        fit(callback, model, max_steps=12, max_epochs=-1)
        weights.append(torch.cat([parameter.flatten().cpu() for parameter in model.parameters()]))
    if device == "cpu":
        assert torch.equal(*weights)
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("steps_per_turn", [1, 4])
def test_steps_of_graphs_are_counted(steps_per_turn: int, device: str) -> None:
    strategy = RehearsedStrategy(steps_per_turn=steps_per_turn)
    model = MNISTMLP(hidden=(32,))
    values = fit(Throughput(peak_tflops=1.0), model, strategy=strategy).seen[-1]
    expected = values["train/images_per_sec"] * MLP / 1e12
    assert values["train/mfu"] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("peak", [0.0, -1.0, float("inf"), float("nan")])
def test_a_peak_that_cannot_be_is_refused(peak: float) -> None:
    with pytest.raises(ValueError, match="peak_tflops must be a number above 0"):
        Throughput(peak_tflops=peak)


def test_the_command_line_turns_it_off_and_sets_the_peak(gpu_learning) -> None:
    options = ("--trainer.max_steps=2", "--trainer.logger=false", "--throughput.mfu=false")
    code, _, err = gpu_learning(*("fit", "-c", "configs/digits_cnn.yaml", *options))
    assert code == 0, err
    code, _, err = gpu_learning(
        *("fit", "-c", "configs/digits_cnn.yaml", *options, "--throughput.peak_tflops=-1")
    )
    assert code == 1
    assert "peak_tflops must be a number above 0" in err
