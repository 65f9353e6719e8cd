"""Where a run ends is where it resumes, however it ended."""

import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LearningRateFinder,
    StochasticWeightAveraging,
    Timer,
)
from torch import Tensor, nn

from callbacks import BestAndLast, ReduceLROnPlateau, RNGState
from datamodules import ResidentLoader
from tests.conftest import quiet_trainer
from training.checkpoint_io import DurableCheckpointIO

pytestmark = [
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists:UserWarning"),
    # A run that resumes has no need of the callback that stopped it.
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning"),
]
EPOCHS, BATCHES = 4, 6


class Net(pl.LightningModule):
    """A small net with dropout, whose validation loss is new at each validation."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.stop_at = -1

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def on_train_batch_end(self, *_: Any) -> None:
        if self.trainer.global_step == self.stop_at:
            self.trainer.should_stop = True

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.1)


class At(pl.Callback):
    """Does something in one hook, once the run has taken so many optimizer steps."""

    def __init__(self, hook: str, step: int, act: Any) -> None:
        self.done = False

        def call(trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == step and not self.done and not trainer.sanity_checking:
                self.done = True
                act(trainer)

        setattr(self, hook, call)


def stop(trainer: pl.Trainer) -> None:
    trainer.should_stop = True


def send(number: int) -> Any:
    return lambda _: signal.raise_signal(number)


def loader(shuffle: bool) -> ResidentLoader:
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(BATCHES * 4, 2, generator=generator)
    return ResidentLoader([data, data.sum(1, keepdim=True)], batch_size=4, shuffle=shuffle)


def fit(folder: Path, *callbacks: pl.Callback, stop_at: int = -1, **options: Any) -> pl.Trainer:
    """A run that keeps its best and last; what ends it early may raise SystemExit."""
    torch.manual_seed(0)
    keep = [] if any(isinstance(c, BestAndLast) for c in callbacks) else [keeper()]
    plateau = ReduceLROnPlateau(factor=0.5, patience=0, threshold=0.2)
    ckpt_path = options.pop("ckpt_path", None)
    validates = options.pop("validates", True)
    if validates:
        callbacks = (*callbacks, plateau)
    settings = {"max_epochs": EPOCHS, "default_root_dir": folder} | options
    settings |= {} if validates else {"limit_val_batches": 0}
    trainer = quiet_trainer(callbacks=[*callbacks, *keep, RNGState()], **settings)
    model = Net()
    model.stop_at = stop_at
    trainer.fit(model, loader(shuffle=True), loader(shuffle=False), ckpt_path=ckpt_path)
    return trainer


def keeper(**options: Any) -> BestAndLast:
    return BestAndLast("val/loss", "min", **options)


def load(folder: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    pairs = zip(first["state_dict"].values(), second["state_dict"].values(), strict=True)
    return all(torch.equal(a.cpu(), b.cpu()) for a, b in pairs)


ENDS = {
    "max_steps": lambda step: {"max_steps": step},
    "a callback": lambda step: {"callbacks": [At("on_train_batch_end", step, stop)]},
    "a validation": lambda step: {"callbacks": [At("on_validation_end", step, stop)]},
    "the module": lambda step: {"stop_at": step},
    "sigterm": lambda step: {
        "callbacks": [At("on_train_batch_start", step - 1, send(signal.SIGTERM))]
    },
    "ctrl-c": lambda step: {
        "callbacks": [At("on_train_batch_start", step - 1, send(signal.SIGINT))]
    },
    "ctrl-c in a validation": lambda step: {
        "callbacks": [At("on_validation_start", step, send(signal.SIGINT))]
    },
}
# Step 9 is in the middle of the second epoch, after a validation where there are two an epoch;
# 8 is before it, 12 the epoch's last.
POINTS = [
    (name, step, interval)
    for name in ENDS
    for step in (8, 9, 12)
    for interval in (0.5, 1.0)
    if "validation" not in name or step == 12 or (step == 9 and interval == 0.5)
    # Lightning validates once more then, before anything can be kept; the schedule notices it.
    if name != "the module" or step == 12 or (step == 9 and interval == 0.5)
]


@pytest.mark.parametrize(("name", "step", "interval"), POINTS)
def test_a_run_resumes_where_it_ended(
    tmp_path: Path, name: str, step: int, interval: float
) -> None:
    options = {"val_check_interval": interval, "num_sanity_val_steps": 0}
    fit(tmp_path / "whole", **options)
    end = ENDS[name](step)
    cut = tmp_path / "cut"
    try:
        fit(cut, *end.pop("callbacks", []), **end, **options)
    except SystemExit:
        assert name.startswith(("sigterm", "ctrl-c"))
    assert load(cut)["global_step"] == step
    fit(cut, ckpt_path=cut / "checkpoints" / "last.ckpt", **options)
    assert load(cut)["global_step"] == EPOCHS * BATCHES
    assert same(load(cut), load(tmp_path / "whole"))
    assert same(load(cut, "best"), load(tmp_path / "whole", "best"))


@pytest.mark.parametrize("validates", [False, True])
def test_a_state_that_is_best_and_last_is_built_once(tmp_path: Path, validates: bool) -> None:
    """Without a validation; after one the state is no longer what was kept as the best."""
    options = {"validates": validates, "num_sanity_val_steps": 0}
    fit(tmp_path / "two", **options)
    fit(tmp_path / "one", plugins=[DurableCheckpointIO()], max_epochs=2, **options)
    files = [tmp_path / "one" / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")]
    assert (files[0].read_bytes() == files[1].read_bytes()) is not validates
    fit(tmp_path / "one", plugins=[DurableCheckpointIO()], ckpt_path=files[1], **options)
    for name in ("best", "last"):
        ours, theirs = load(tmp_path / "one", name), load(tmp_path / "two", name)
        assert same(ours, theirs)
        assert ours.keys() == theirs.keys()
        assert ours["loops"] == theirs["loops"]


@pytest.mark.parametrize("name", ["a callback", "the module", "ctrl-c"])
def test_a_run_that_accumulates_ends_after_its_step(tmp_path: Path, name: str) -> None:
    """Steps of 4 and of the 2 batches that are left; asked to stop after the fifth step's first."""
    fit(tmp_path / "whole", accumulate_grad_batches=4, validates=False)
    batches = 0

    def fourth(trainer: pl.Trainer) -> bool:
        nonlocal batches
        batches += 1
        return batches == 13

    class Ask(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if fourth(trainer):
                stop(trainer) if name != "ctrl-c" else send(signal.SIGINT)(trainer)

    cut = tmp_path / "cut"
    try:
        fit(cut, Ask(), accumulate_grad_batches=4, validates=False)
    except SystemExit:
        assert name == "ctrl-c"
    assert load(cut)["global_step"] == 5
    last = cut / "checkpoints" / "last.ckpt"
    fit(cut, accumulate_grad_batches=4, validates=False, ckpt_path=last)
    assert same(load(cut), load(tmp_path / "whole"))


def test_sigterm_within_an_accumulation_leaves_the_write_before(tmp_path: Path) -> None:
    options: dict[str, Any] = {"accumulate_grad_batches": 4, "validates": False}
    fit(tmp_path / "whole", **options)
    cut = tmp_path / "cut"
    with pytest.raises(SystemExit):
        fit(cut, At("on_train_batch_start", 4, send(signal.SIGTERM)), **options)
    assert load(cut)["global_step"] == 4
    fit(cut, ckpt_path=cut / "checkpoints" / "last.ckpt", **options)
    assert same(load(cut), load(tmp_path / "whole"))


@pytest.mark.parametrize("step", [3, 5, 12, 13])
def test_the_end_is_kept_however_rarely_epochs_are(tmp_path: Path, step: int) -> None:
    fit(tmp_path, keeper(every_n_epochs=100), max_steps=step)
    assert load(tmp_path)["global_step"] == step
    # Where nothing was compared before, the end is the best, too.
    assert load(tmp_path, "best")["global_step"] == step


def test_early_stopping_between_two_looks_is_kept(tmp_path: Path) -> None:
    early = EarlyStopping("val/loss", mode="max", patience=0)
    trainer = fit(tmp_path, early, keeper(every_n_epochs=100))
    assert trainer.global_step < EPOCHS * BATCHES
    assert load(tmp_path)["global_step"] == trainer.global_step
    assert load(tmp_path, "best")["global_step"] == trainer.global_step


def test_the_best_is_never_an_epoch_that_was_not_validated(tmp_path: Path) -> None:
    keep = keeper()
    trainer = fit(tmp_path, keep, max_steps=9)
    assert trainer.global_step == 9
    assert load(tmp_path, "best")["global_step"] == 6


@pytest.mark.parametrize("mode", ["min", "max"])
def test_of_equal_scores_the_latest_is_the_best(tmp_path: Path, mode: str) -> None:
    class Even(Net):
        def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
            best = 0.5 if mode == "min" else 2.0
            self.log("val/loss", best if self.current_epoch in (1, 2) else 1.0)

    run = quiet_trainer(
        max_epochs=4, callbacks=[BestAndLast("val/loss", mode)], default_root_dir=tmp_path
    )
    run.fit(Even(), loader(shuffle=True), loader(shuffle=False))
    assert load(tmp_path, "best")["epoch"] == 2
    assert load(tmp_path)["epoch"] == 3


def test_max_time_within_an_epoch(tmp_path: Path) -> None:
    class Clock(Timer):
        def time_elapsed(self, stage: Any = "train") -> float:
            return self.steps

        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            self.steps = trainer.global_step
            super().on_train_batch_end(trainer, *args)

    clock = Clock({"seconds": 9})
    clock.steps = 0
    fit(tmp_path / "cut", clock)
    assert load(tmp_path / "cut")["global_step"] == 9
    fit(tmp_path / "cut", ckpt_path=tmp_path / "cut" / "checkpoints" / "last.ckpt")
    fit(tmp_path / "whole")
    assert same(load(tmp_path / "cut"), load(tmp_path / "whole"))


def test_a_stop_that_must_wait_for_min_epochs(tmp_path: Path) -> None:
    trainer = fit(tmp_path, At("on_train_batch_end", 2, stop), min_epochs=2)
    assert trainer.global_step == 2 * BATCHES
    assert load(tmp_path)["global_step"] == 2 * BATCHES


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    def twice(_: pl.Trainer) -> None:
        send(signal.SIGINT)(_)
        send(signal.SIGINT)(_)

    with pytest.raises(SystemExit):
        fit(tmp_path, At("on_train_batch_start", 8, twice))
    assert load(tmp_path)["global_step"] == 6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_averaged_weights_that_no_checkpoint_holds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none would hold them; use .*WeightAveraging"):
        fit(tmp_path, StochasticWeightAveraging(0.01))


def test_a_search_in_a_resumed_run_is_refused(tmp_path: Path) -> None:
    fit(tmp_path, max_steps=8)
    last = tmp_path / "checkpoints" / "last.ckpt"
    with pytest.raises(ValueError, match=r"forget the steps .*; take LearningRateFinder out"):
        fit(tmp_path, LearningRateFinder(), ckpt_path=last)


def test_every_n_epochs_must_be_positive() -> None:
    with pytest.raises(ValueError, match="every_n_epochs must be at least 1, got 0"):
        BestAndLast(every_n_epochs=0)


def test_a_resumed_run_with_another_monitor_looks_for_its_best_from_there_on(
    tmp_path: Path, device: str
) -> None:
    fit(tmp_path, max_epochs=2)
    other = BestAndLast("val/loss", "max")  # the losses to come are all below those before
    fit(tmp_path, other, ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert load(tmp_path, "best")["global_step"] == 3 * BATCHES


def test_what_was_trained_before_a_monitor_is_found_wrong_is_kept(
    tmp_path: Path, device: str
) -> None:
    """Without a check of the validation before the training it is known after an epoch."""
    last = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    with pytest.raises(ValueError, match=f"mode min; --ckpt_path {last} continues this run$"):
        fit(tmp_path / "cut", BestAndLast("val/los", "min"), num_sanity_val_steps=0)
    assert load(tmp_path / "cut")["global_step"] == BATCHES
    fit(tmp_path / "cut", ckpt_path=last, num_sanity_val_steps=0)
    fit(tmp_path / "whole", num_sanity_val_steps=0)
    assert same(load(tmp_path / "cut"), load(tmp_path / "whole"))
