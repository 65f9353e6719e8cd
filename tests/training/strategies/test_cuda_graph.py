"""Graphed steps must be the steps of Lightning's own loop, one and several per turn of it.

On a machine without a GPU they are rehearsed, see tests/helpers/rehearsal.py.
"""

from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from callbacks import BestAndLast, FiniteLoss, OneCycle, RNGState, StepLR, Throughput
from datamodules import DigitsDataModule
from lightning_modules import MNISTCNN
from tests.conftest import quiet_trainer
from tests.helpers.rehearsal import RehearsedStrategy, RoundedStrategy
from training.strategies import CUDAGraphStrategy

GPU = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _one_way_to_add() -> Iterator[None]:
    """Convolutions that add in one order and in full precision, so that runs can be compared."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


class Curve(pl.Callback):
    """The loss of every optimizer step, however many a turn of the loop takes."""

    counts_chunks = True

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        losses = outputs.get("losses", outputs["loss"]).reshape(-1)
        self.losses += losses.tolist()


class Drops(MNISTCNN):
    """The CNN with dropout, which draws from the device's generator."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(self.net, nn.Dropout(0.1))


def graphed(steps_per_turn: int) -> RehearsedStrategy:
    return RehearsedStrategy(steps_per_turn=steps_per_turn)


def fit(
    strategy: str | CUDAGraphStrategy, *callbacks: pl.Callback, module: type = MNISTCNN, **kwargs
) -> tuple[pl.Trainer, pl.LightningModule]:
    data = kwargs.pop("data", {})
    ckpt_path = kwargs.pop("ckpt_path", None)
    torch.manual_seed(0)
    model = module()
    kwargs = {"max_epochs": 2, "log_every_n_steps": 16} | kwargs
    trainer = quiet_trainer(strategy=strategy, callbacks=list(callbacks), **kwargs)
    trainer.fit(
        model,
        datamodule=DigitsDataModule(**{"shift": 1.0} | data),
        ckpt_path=ckpt_path,
        weights_only=True if ckpt_path else None,
    )
    return trainer, model


def same(left: pl.LightningModule, right: pl.LightningModule, tolerance: float = 0.0) -> None:
    for name, value in left.state_dict().items():
        other = right.state_dict()[name]
        assert (value - other).abs().max() <= tolerance, name


@pytest.mark.parametrize("steps_per_turn", [1, 16])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"data": {"batch_size": 29}},
        {"gradient_clip_val": 0.1, "accumulate_grad_batches": 3},
        {"max_steps": 57, "max_epochs": -1},
        {"limit_train_batches": 21},
        {"val_check_interval": 12},
        {"data": {"val_size": 0}},
    ],
)
def test_the_same_steps_as_one_by_one(device: str, options: dict, steps_per_turn: int) -> None:
    rng = {} if device == "cpu" else {"shift": 0.0}  # the graph draws other random numbers
    data = {"data": rng | options.get("data", {})}
    plain, chunked = Curve(), Curve()
    one, expected = fit(RoundedStrategy(), OneCycle(max_lr=0.003), plain, **options | data)
    many, got = fit(graphed(steps_per_turn), OneCycle(max_lr=0.003), chunked, **options | data)
    assert many.global_step == one.global_step
    assert many.current_epoch == one.current_epoch
    same(expected, got, 0.0 if device == "cpu" else 2e-3)
    assert many.callback_metrics.keys() == one.callback_metrics.keys()
    if "accumulate_grad_batches" not in options:
        left, right = torch.tensor(plain.losses[:100]), torch.tensor(chunked.losses[:100])
        relative = ((left - right).abs() / left.abs().clamp(min=1e-3)).max()
        assert relative <= (0.0 if device == "cpu" else 1e-4)


@pytest.mark.parametrize("steps_per_turn", [1, 16])
@pytest.mark.parametrize("graphed_first", [False, True])
def test_checkpoints_are_interchangeable(
    device: str, graphed_first: bool, steps_per_turn: int, tmp_path: Path
) -> None:
    def strategy(is_first: bool) -> str | CUDAGraphStrategy:
        return graphed(steps_per_turn) if is_first == graphed_first else RoundedStrategy()

    def parts() -> list[pl.Callback]:
        return [BestAndLast(every_n_steps=48), StepLR(step_size=1, gamma=0.5), RNGState()]

    data = {"shift": 0.0}

    class Stop(pl.Callback):
        counts_chunks = True

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            if trainer.global_step >= 64:
                raise KeyboardInterrupt

    with pytest.raises(SystemExit):  # Lightning ends an interrupted run so
        fit(strategy(True), *parts(), Stop(), default_root_dir=tmp_path, data=data)
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True, map_location="cpu")["global_step"] == 48
    _, got = fit(strategy(False), *parts(), default_root_dir=tmp_path, ckpt_path=last, data=data)
    _, expected = fit(strategy(False), *parts(), default_root_dir=tmp_path / "whole", data=data)
    same(expected, got, 0.0 if device == "cpu" else 2e-3)


@pytest.mark.parametrize("steps_per_turn", [1, 16])
@pytest.mark.parametrize(("every", "stop"), [(48, 64), (0, 45)], ids=["mid-epoch", "epoch-end"])
def test_resumes_exactly(
    device: str, every: int, stop: int, steps_per_turn: int, tmp_path: Path
) -> None:
    def parts() -> list[pl.Callback]:
        return [BestAndLast(every_n_steps=every), OneCycle(max_lr=0.003), RNGState()]

    class Stop(pl.Callback):
        counts_chunks = True

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            if trainer.global_step >= stop:
                raise KeyboardInterrupt

    def run(*callbacks: pl.Callback, **options) -> tuple[pl.Trainer, pl.LightningModule]:
        return fit(graphed(steps_per_turn), *callbacks, module=Drops, max_epochs=3, **options)

    with pytest.raises(SystemExit):
        run(*parts(), Stop(), default_root_dir=tmp_path)
    last = tmp_path / "checkpoints" / "last.ckpt"
    _, resumed = run(*parts(), default_root_dir=tmp_path, ckpt_path=last)
    _, whole = run(*parts(), default_root_dir=tmp_path / "whole")
    same(whole, resumed)


@GPU
def test_bf16_trains_and_keeps_fp32_weights() -> None:
    curve = Curve()
    _, model = fit("cuda_graph", curve, Throughput(), precision="bf16-mixed", max_epochs=5)
    assert curve.losses[-1] < 0.5
    assert all(p.dtype == torch.float32 for p in model.parameters())


@GPU
def test_compiled_in_place_and_graphed() -> None:
    class Compiled(MNISTCNN):
        def __init__(self) -> None:
            super().__init__()
            self.net.compile()

    plain, compiled = Curve(), Curve()
    data = {"shift": 0.0}
    _, expected = fit("auto", plain, data=data)
    _, got = fit("cuda_graph", compiled, module=Compiled, data=data)
    assert got.state_dict().keys() == expected.state_dict().keys()
    assert abs(plain.losses[50] - compiled.losses[50]) < 1e-3


@GPU
@pytest.mark.parametrize("steps_per_turn", [1, 16])
@pytest.mark.parametrize("break_it", ["item", "log"])
def test_what_cannot_be_captured_is_explained(break_it: str, steps_per_turn: int) -> None:
    class Bad(MNISTCNN):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if break_it == "item":
                self.last_loss = loss.item()
            else:
                self.log("train/constant", 3.0)
            return loss

    with pytest.raises(ValueError, match=r"captured as a CUDA graph|tensors only"):
        fit(CUDAGraphStrategy(steps_per_turn=steps_per_turn), module=Bad)


@pytest.mark.parametrize("steps_per_turn", [1, 16])
def test_nan_is_found_at_its_step(device: str, steps_per_turn: int) -> None:
    class Breaks(MNISTCNN):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("steps", torch.zeros(()), persistent=False)

        def training_step(self, batch, batch_idx):
            self.steps += 1
            loss = super().training_step(batch, batch_idx)
            return loss * torch.where(self.steps == 23, float("nan"), 1.0)

    with pytest.raises(ValueError, match="nan at step 23"):
        fit(graphed(steps_per_turn), FiniteLoss(), module=Breaks)


@pytest.mark.parametrize("steps_per_turn", [1, 16])
def test_metrics_are_logged_as_one_by_one(device: str, steps_per_turn: int) -> None:
    class Logs(MNISTCNN):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("mean_loss", loss, on_step=False, on_epoch=True)
            return loss

    data = {"batch_size": 120, "shift": 0.0}
    one = fit("auto", module=Logs, data=data, max_epochs=1)[0].callback_metrics
    many = fit(graphed(steps_per_turn), module=Logs, data=data, max_epochs=1)[0].callback_metrics
    assert many["mean_loss"] == pytest.approx(
        float(one["mean_loss"]), rel=1e-6 if device == "cpu" else 1e-3
    )
    assert many["train/loss"] == pytest.approx(
        float(one["train/loss"]), rel=1e-6 if device == "cpu" else 1e-3
    )
    assert many["train/acc"] == pytest.approx(
        float(one["train/acc"]), rel=1e-6 if device == "cpu" else 1e-3
    )


def test_refused_on_the_cpu() -> None:
    with pytest.raises(ValueError, match=r"needs a CUDA GPU.*--trainer\.strategy auto"):
        quiet_trainer(strategy="cuda_graph")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps_per_turn": 0}, "at least 1"),
        ({"warmup_steps": 0}, "at least 1"),
        ({"without_gpu": "maybe"}, "error or auto"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CUDAGraphStrategy(**arguments)


def test_data_on_the_host(device: str) -> None:
    data = {"resident": False, "shift": 0.0}
    with pytest.raises(ValueError, match=r"resident true"):
        fit(graphed(16), data=data)
    _, expected = fit(RoundedStrategy(), data=data, max_epochs=1)
    _, got = fit(graphed(1), data=data, max_epochs=1)
    same(expected, got, 0.0 if device == "cpu" else 2e-3)


def test_a_scheduler_of_the_module(device: str) -> None:
    class Scheduled(MNISTCNN):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    with pytest.raises(ValueError, match=r"callbacks\.OneCycle"):
        fit(graphed(16), module=Scheduled)
    data = {"shift": 0.0}
    _, expected = fit(RoundedStrategy(), module=Scheduled, data=data, max_epochs=1)
    _, got = fit(graphed(1), module=Scheduled, data=data, max_epochs=1)
    same(expected, got, 0.0 if device == "cpu" else 2e-3)


@pytest.mark.parametrize("steps_per_turn", [1, 16])
def test_momentum_that_moves(device: str, steps_per_turn: int) -> None:
    def run(strategy: str | CUDAGraphStrategy) -> pl.LightningModule:
        cycle = OneCycle(max_lr=0.003, cycle_momentum=True)
        return fit(strategy, cycle, data={"shift": 0.0}, max_epochs=1)[1]

    if steps_per_turn > 1:
        with pytest.raises(ValueError, match="cycle_momentum"):
            run(graphed(steps_per_turn))
    else:
        same(run(RoundedStrategy()), run(graphed(1)), 0.0 if device == "cpu" else 2e-3)


def test_validation_within_an_optimizer_step_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match=r"a multiple of --trainer\.accumulate_grad_batches"):
        fit(graphed(16), accumulate_grad_batches=2, val_check_interval=3)


def test_optimizing_by_hand_is_refused(device: str) -> None:
    class ByHand(MNISTCNN):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

    with pytest.raises(ValueError, match="optimizes by hand"):
        fit(graphed(1), module=ByHand)


def test_an_optimizer_that_calls_its_steps_itself_is_refused(device: str) -> None:
    class Searches(MNISTCNN):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters())

    with pytest.raises(ValueError, match="LBFGS calls its steps itself"):
        fit(graphed(1), module=Searches)


def test_several_devices_are_sent_to_the_strategy_for_them() -> None:
    with pytest.raises(ValueError, match="cuda_graph_ddp, or ddp where there is no GPU"):
        quiet_trainer(devices=2, strategy=CUDAGraphStrategy(without_gpu="auto"))
