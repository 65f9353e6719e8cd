"""The learning-rate callbacks: the values of torch's schedulers, one owner, exact resume."""

import csv
import itertools
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    LearningRateFinder,
    StochasticWeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.optim import lr_scheduler

from callbacks import (
    BestAndLast,
    CosineAnnealing,
    LearningRateLog,
    LRSchedulerCallback,
    OneCycle,
    ReduceLROnPlateau,
    StepLR,
    WarmupCosine,
)
from datamodules import ResidentLoader
from tests.conftest import quiet_trainer

# A resumed run of these tests writes beside the checkpoint that it started from.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists:UserWarning"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning"),
]
EPOCHS, BATCHES = 4, 5
STEPS = EPOCHS * BATCHES
SCHEDULERS = {
    "step": lambda: StepLR(step_size=2, gamma=0.5),
    "step per step": lambda: StepLR(step_size=3, gamma=0.5, interval="step"),
    "plateau": lambda: ReduceLROnPlateau(factor=0.5, patience=0, threshold=0.5),
    "cosine": CosineAnnealing,
    "cosine per epoch": lambda: CosineAnnealing(interval="epoch"),
    "one cycle": OneCycle,
    "warm-up": lambda: WarmupCosine(warmup_steps=6, min_ratio=0.1),
}


class Line(pl.LightningModule):
    """A line fitted to noise; ``rates`` is the learning rate that each step really used."""

    def __init__(self, lr: float = 0.1, tensor: bool = False, scheduled: bool = False) -> None:
        super().__init__()
        self.net = nn.Linear(2, 1)
        self.lr = torch.tensor(lr) if tensor else lr
        self.scheduled = scheduled
        self.rates: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.rates.append(float(optimizer.param_groups[0]["lr"]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        if self.scheduled:
            return [optimizer], [lr_scheduler.ExponentialLR(optimizer, 0.9)]
        return optimizer


def loader(shuffle: bool = True) -> ResidentLoader:
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(BATCHES * 4, 2, generator=generator)
    return ResidentLoader(
        [data, data.sum(1, keepdim=True) + torch.randn(len(data), 1, generator=generator)],
        batch_size=4,
        shuffle=shuffle,
    )


def trainer(folder: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    settings = {"max_epochs": EPOCHS, "default_root_dir": folder} | options
    return quiet_trainer(callbacks=list(callbacks), **settings)


def fit(folder: Path, *callbacks: pl.Callback, model: Line | None = None, **options: Any) -> Line:
    torch.manual_seed(0)
    model = model or Line()
    ckpt_path = options.pop("ckpt_path", None)
    trainer(folder, *callbacks, **options).fit(
        model, loader(), loader(shuffle=False), ckpt_path=ckpt_path
    )
    return model


def torch_rates(make: Any, per_epoch: bool = False, lr: float = 0.1) -> list[float]:
    """What torch's scheduler returns in a plain loop."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for step in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if not per_epoch or (step + 1) % BATCHES == 0:
            scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("callback", "make", "per_epoch"),
    [
        (StepLR(2, 0.5), lambda o: lr_scheduler.StepLR(o, 2, 0.5), True),
        (StepLR(3, 0.5, "step"), lambda o: lr_scheduler.StepLR(o, 3, 0.5), False),
        (CosineAnnealing(0.01), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, 0.01), False),
        (
            CosineAnnealing(interval="epoch"),
            lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS),
            True,
        ),
        (
            OneCycle(max_lr=0.3),
            lambda o: lr_scheduler.OneCycleLR(o, 0.3, total_steps=STEPS, cycle_momentum=False),
            False,
        ),
    ],
)
def test_each_step_uses_the_rate_of_torch(
    tmp_path: Path, callback: LRSchedulerCallback, make: Any, per_epoch: bool, device: str
) -> None:
    assert fit(tmp_path, callback).rates == torch_rates(make, per_epoch)


def test_an_accumulation_that_changes_is_counted(tmp_path: Path, device: str) -> None:
    change = pl.callbacks.GradientAccumulationScheduler({0: 4, 2: 1})
    rates = fit(tmp_path, OneCycle(max_lr=0.3), change).rates
    steps = 2 * -(-BATCHES // 4) + (EPOCHS - 2) * BATCHES
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    cycle = lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=steps, cycle_momentum=False)
    expected = []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cycle.step() if len(expected) < steps else None
    assert rates == expected


def test_step_lr_halves_as_in_the_course(tmp_path: Path) -> None:
    rates = fit(tmp_path, StepLR(2, 0.5), max_epochs=8).rates
    assert rates[:: 2 * BATCHES] == pytest.approx([0.1, 0.05, 0.025, 0.0125])


def test_one_cycle_peaks_at_the_modules_rate(tmp_path: Path) -> None:
    rates = fit(tmp_path, OneCycle(div_factor=10)).rates
    assert max(rates) == pytest.approx(0.1)
    assert rates[0] == pytest.approx(0.01)
    assert rates[-1] < 1e-5


def test_warmup_cosine(tmp_path: Path) -> None:
    rates = fit(tmp_path, WarmupCosine(warmup_steps=4, min_ratio=0.1)).rates
    assert rates[:5] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert all(a > b for a, b in itertools.pairwise(rates[4:]))
    assert 0.01 < rates[-1] < 0.012


def test_plateau_reduces_after_each_validation_without_gain(tmp_path: Path, device: str) -> None:
    callback = ReduceLROnPlateau(factor=0.5, patience=0, threshold=0.99)
    rates = fit(tmp_path, callback).rates
    # The first validation is the best so far by definition; none after it gains 99 %.
    assert rates[::BATCHES] == pytest.approx([0.1, 0.1, 0.05, 0.025])


@pytest.mark.parametrize(
    ("mode", "values", "kept"),
    [
        ("min", [4.0, 3.0, 2.0, 1.0], True),
        ("max", [1.0, 2.0, 3.0, 4.0], True),
        ("min", [1.0, 2.0, 3.0, 4.0], False),
        ("max", [4.0, 3.0, 2.0, 1.0], False),
    ],
)
def test_plateau_looks_for_gains_in_its_direction(
    tmp_path: Path, mode: str, values: list[float], kept: bool
) -> None:
    class Told(Line):
        def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
            self.log("val/loss", values[self.current_epoch])

    callback = ReduceLROnPlateau(mode=mode, factor=0.5, patience=0)
    rates = fit(tmp_path, callback, model=Told()).rates[::BATCHES]
    assert rates == pytest.approx([0.1] * 4 if kept else [0.1, 0.1, 0.05, 0.025])


def test_accumulated_gradients_count_as_one_step(tmp_path: Path, device: str) -> None:
    rates = fit(tmp_path, CosineAnnealing(), accumulate_grad_batches=5).rates
    assert len(rates) == EPOCHS
    assert rates == pytest.approx([0.1, 0.08535534, 0.05, 0.01464466])


def test_a_rate_in_a_tensor_is_changed_in_place(tmp_path: Path, device: str) -> None:
    model = Line(tensor=True)
    fit(tmp_path, CosineAnnealing(), model=model)
    group = model.trainer.optimizers[0].param_groups[0]
    assert isinstance(group["lr"], Tensor)
    assert model.rates == pytest.approx(fit(tmp_path, CosineAnnealing()).rates)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("stop_at", [BATCHES + 2, 2 * BATCHES])
def test_a_resumed_run_is_bit_identical(
    tmp_path: Path, name: str, stop_at: int, device: str
) -> None:
    make = SCHEDULERS[name]
    whole = fit(tmp_path / "whole", make())

    class Stop(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == stop_at:
                raise KeyError("stopped")

    saver = {"enable_checkpointing": True, "default_root_dir": tmp_path / "cut"}
    with pytest.raises(KeyError):
        fit(tmp_path, make(), Stop(), BestAndLast("val/loss", "min", every_n_steps=1), **saver)
    last = next((tmp_path / "cut").rglob("last.ckpt"))
    saver = {"enable_checkpointing": True, "default_root_dir": tmp_path / "on"}
    resumed = fit(tmp_path, make(), BestAndLast("val/loss", "min"), ckpt_path=last, **saver)
    assert resumed.rates == whole.rates[stop_at:]
    assert torch.equal(resumed.net.weight, whole.net.weight)


@pytest.mark.parametrize("name", sorted(set(SCHEDULERS) - {"plateau"}))
def test_a_group_added_later_is_left_alone(tmp_path: Path, name: str, device: str) -> None:
    class Unfreeze(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.current_epoch == 1:
                late = nn.Parameter(torch.zeros(1))
                trainer.optimizers[0].add_param_group({"params": [late], "lr": 0.7})

    model = fit(tmp_path, SCHEDULERS[name](), Unfreeze())
    assert model.rates == fit(tmp_path, SCHEDULERS[name]()).rates
    assert model.trainer.optimizers[0].param_groups[1]["lr"] == 0.7


def test_refuses_a_scheduler_from_configure_optimizers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"StepLR and the ExponentialLR .* remove the Exponential"):
        fit(tmp_path, StepLR(2), model=Line(scheduled=True))


def test_refuses_a_second_callback(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"StepLR and OneCycle .* remove all but one"):
        fit(tmp_path, StepLR(2), OneCycle())


def test_refuses_a_checkpoint_of_another_schedule(tmp_path: Path) -> None:
    saver = BestAndLast("val/loss", "min")
    saving = {"enable_checkpointing": True, "default_root_dir": tmp_path}
    fit(tmp_path, CosineAnnealing(), saver, **saving)
    last = next(tmp_path.rglob("last.ckpt"))
    with pytest.raises(ValueError, match="ends after 20 steps, this run after 30"):
        fit(tmp_path, CosineAnnealing(), saver, max_epochs=6, ckpt_path=last, **saving)
    with pytest.raises(ValueError, match="trained without OneCycle"):
        fit(tmp_path, OneCycle(), saver, max_epochs=6, ckpt_path=last, **saving)
    scored = trainer(tmp_path, OneCycle()).validate(
        Line(), loader(shuffle=False), ckpt_path=last, verbose=False
    )
    assert "val/loss" in scored[0]  # a score needs no schedule


def test_refuses_averaging_that_sets_the_rate(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"OneCycle and StochasticWeightAveraging .* remove one"):
        fit(tmp_path, OneCycle(), StochasticWeightAveraging(0.01))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_starts_from_the_rate_that_lightning_finds(tmp_path: Path, name: str) -> None:
    """The search saves and restores a checkpoint of its own before the schedule begins."""
    finder = LearningRateFinder(num_training_steps=20)
    model = fit(tmp_path, finder, SCHEDULERS[name]())
    assert finder.optimal_lr is not None
    found = finder.optimal_lr.suggestion()
    assert found is not None
    assert model.rates[-STEPS:][:BATCHES] == pytest.approx(
        fit(tmp_path, SCHEDULERS[name](), model=Line(lr=found)).rates[:BATCHES]
    )
    assert not list(tmp_path.rglob(".*.ckpt"))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_starts_after_the_batch_size_that_lightning_finds(tmp_path: Path, name: str) -> None:
    class Data(pl.LightningDataModule):
        batch_size = 2

        def train_dataloader(self) -> ResidentLoader:
            data = torch.randn(40, 2)
            return ResidentLoader([data, data.sum(1, keepdim=True)], self.batch_size)

        def val_dataloader(self) -> ResidentLoader:
            return self.train_dataloader()

    finder = BatchSizeFinder(steps_per_trial=1, max_trials=1)
    callback, model = SCHEDULERS[name](), Line()
    run = trainer(tmp_path, finder, callback)
    run.fit(model, datamodule=Data())
    assert run.global_step == EPOCHS * 40 // run.datamodule.batch_size
    assert not list(tmp_path.rglob(".*.ckpt"))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_fast_dev_run(tmp_path: Path, name: str) -> None:
    assert len(fit(tmp_path, SCHEDULERS[name](), fast_dev_run=True).rates) == 1
    assert len(fit(tmp_path, SCHEDULERS[name](), fast_dev_run=3).rates) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepLR(2, interval="batch"), "interval must be step or epoch, got 'batch'"),
        (lambda: StepLR(0), "step_size must be at least 1"),
        (lambda: StepLR(1, gamma=0.0), "gamma must be above 0"),
        (lambda: CosineAnnealing(min_lr=-1.0), "min_lr must not be negative"),
        (lambda: OneCycle(max_lr=0.0), "max_lr must be above 0"),
        (lambda: OneCycle(anneal_strategy="cosine"), "anneal_strategy must be cos or linear"),
        (lambda: WarmupCosine(-1), "warmup_steps must not be negative"),
        (lambda: WarmupCosine(1, min_ratio=2.0), "min_ratio must lie between 0 and 1"),
        (lambda: ReduceLROnPlateau(mode="up"), "mode must be min or max"),
        (lambda: ReduceLROnPlateau(factor=1.0), "factor must lie between 0 and 1"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="warm-up of 20 steps does not fit into a run of 20"):
        fit(tmp_path, WarmupCosine(warmup_steps=STEPS))
    with pytest.raises(ValueError, match=r"watches val/acc, .*; it logs val/loss"):
        fit(tmp_path, ReduceLROnPlateau(monitor="val/acc"))
    with pytest.raises(ValueError, match=r"this one has no end; set --trainer\.max_steps"):
        fit(tmp_path, CosineAnnealing(), max_epochs=-1)
    with pytest.raises(ValueError, match="with limit_train_batches 0 there are none"):
        fit(tmp_path, CosineAnnealing(), limit_train_batches=0)


class TwoGroups(Line):
    """Weight and bias in groups of their own."""

    def __init__(self, rates: tuple[float, float]) -> None:
        super().__init__()
        self.of_groups = rates

    def configure_optimizers(self) -> Any:
        pairs = zip(self.parameters(), self.of_groups, strict=True)
        return torch.optim.SGD([{"params": [parameter], "lr": lr} for parameter, lr in pairs])


@pytest.mark.parametrize("rates", [(0.1, 0.1), (0.1, 0.3)])
def test_groups_with_one_rate_share_a_curve(tmp_path: Path, rates: tuple[float, float]) -> None:
    logger = CSVLogger(tmp_path)
    fit(tmp_path, LearningRateLog(), model=TwoGroups(rates), logger=logger)
    names = Path(logger.log_dir, "metrics.csv").read_text().splitlines()[0].split(",")
    assert "lr" in names
    assert ("lr/group1" in names) == (rates[0] != rates[1])


@pytest.mark.parametrize("callbacks", [[], [StepLR(1, 0.5)]])
def test_lr_is_logged_once_a_step(
    tmp_path: Path, callbacks: list[pl.Callback], device: str
) -> None:
    logger = CSVLogger(tmp_path)
    fit(tmp_path, LearningRateLog(), *callbacks, logger=logger, log_every_n_steps=5)
    rows = list(csv.DictReader(Path(logger.log_dir, "metrics.csv").read_text().splitlines()))
    logged = [(int(row["step"]), float(row["lr"])) for row in rows if row["lr"]]
    if callbacks:
        halves = [(0, 0.1), (4, 0.1), (5, 0.05), (9, 0.05), (10, 0.025), (14, 0.025)]
        assert logged == [*halves, (15, 0.0125), (19, 0.0125)]
    else:
        assert logged == [(0, 0.1), (4, 0.1), (9, 0.1), (14, 0.1), (19, 0.1)]


def test_a_schedule_by_the_step_has_no_second_point_where_an_epoch_begins(
    tmp_path: Path, device: str
) -> None:
    logger = CSVLogger(tmp_path)
    fit(tmp_path, LearningRateLog(), OneCycle(), logger=logger, log_every_n_steps=5)
    rows = list(csv.DictReader(Path(logger.log_dir, "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows if row["lr"]] == [0, 4, 9, 14, 19]
