"""The callbacks in real runs of a small net on the embedded digits."""

import math
import random
import re
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from callbacks import (
    BestAndLast,
    ConfusionMatrixFigure,
    FiniteLoss,
    FirstLayerFilters,
    HParams,
    PlainProgress,
    PredictionFigures,
    RNGState,
    Throughput,
)
from callbacks.confusion_matrix import confusion_figure
from callbacks.filters import filter_images
from callbacks.plain_progress import rounded
from datamodules import DigitsDataModule
from lightning_modules import MNISTMLP
from lightning_modules.evaluate import evaluate
from tests.conftest import quiet_trainer


class Small(MNISTMLP):
    def __init__(self, break_at: int = -1) -> None:
        super().__init__(hidden=(16,))
        self.break_at = break_at

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if self.global_step == self.break_at else loss


def trainer(*callbacks: pl.Callback, logger: object = False, **kwargs) -> pl.Trainer:
    settings = {"max_epochs": 2, "log_every_n_steps": 5} | kwargs
    return quiet_trainer(callbacks=list(callbacks), logger=logger, **settings)


def events(logger: TensorBoardLogger) -> EventAccumulator:
    logger.experiment.flush()
    accumulator = EventAccumulator(logger.log_dir, size_guidance={"scalars": 0, "images": 0})
    return accumulator.Reload()


def test_best_is_the_best_and_last_the_latest(tmp_path: Path, device: str) -> None:
    keep = BestAndLast(every_n_steps=0)
    run = trainer(keep, max_epochs=6, default_root_dir=tmp_path)
    run.fit(Small(), datamodule=DigitsDataModule())
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert last["global_step"] == run.global_step
    model = Small()
    model.load_state_dict(best["state_dict"])
    score = trainer().validate(model, datamodule=DigitsDataModule(), verbose=False)[0]["val/acc"]
    assert score == pytest.approx(float(keep.best_model_score))


def test_last_is_written_between_epochs(tmp_path: Path, device: str) -> None:
    run = trainer(FiniteLoss(), BestAndLast(every_n_steps=7), default_root_dir=tmp_path)
    with pytest.raises(ValueError, match="step 17"):
        run.fit(Small(break_at=16), datamodule=DigitsDataModule())
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 14


def test_a_run_shorter_than_an_epoch_leaves_its_last(tmp_path: Path, device: str) -> None:
    run = trainer(BestAndLast(), max_steps=5, default_root_dir=tmp_path)
    run.fit(Small(), datamodule=DigitsDataModule())
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 5


def test_a_monitor_that_nothing_logs(tmp_path: Path) -> None:
    run = trainer(BestAndLast(monitor="val/accuracy"), default_root_dir=tmp_path)
    with pytest.raises(
        ValueError, match=r"'val/accuracy' is not logged; there is .*val/acc.*--checkpoint"
    ):
        run.fit(Small(), datamodule=DigitsDataModule())


def test_without_validation_the_best_is_the_latest(tmp_path: Path, device: str) -> None:
    run = trainer(BestAndLast(), default_root_dir=tmp_path)
    model = Small()
    run.fit(model, datamodule=DigitsDataModule(val_size=0))
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == run.global_step
    assert run.validate(model, datamodule=DigitsDataModule(), verbose=False)


def test_nan_loss_stops_and_says_where(tmp_path: Path, device: str) -> None:
    run = trainer(
        FiniteLoss(), BestAndLast(every_n_steps=13), default_root_dir=tmp_path, max_epochs=3
    )
    with pytest.raises(ValueError, match="loss is nan at step 13"):
        run.fit(Small(break_at=12), datamodule=DigitsDataModule())
    assert not list(tmp_path.rglob("last.ckpt"))


def test_of_several_steps_in_a_batch_the_one_is_named(device: str) -> None:
    class Several(MNISTMLP):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            losses = []
            for number in range(3):
                loss = F.cross_entropy(self(batch[0]), batch[1])
                self.optimizers().zero_grad()
                self.manual_backward(loss)
                self.optimizers().step()
                broken = (batch_idx, number) == (1, 1)
                losses.append(loss.detach() * (float("nan") if broken else 1.0))
            return {"loss": losses[-1], "losses": torch.stack(losses)}

    with pytest.raises(ValueError, match="loss is nan at step 5;"):
        trainer(FiniteLoss()).fit(Several(hidden=(16,)), datamodule=DigitsDataModule())


def test_losses_kept_on_a_device_are_named_exactly() -> None:
    guard = FiniteLoss()
    guard._steps = [41, 42, 43]
    guard._losses = [torch.tensor([1.0]), torch.tensor([float("inf"), 2.0])]
    with pytest.raises(ValueError, match="loss is inf at step 42"):
        guard._check()


def test_rng_state_goes_on_where_it_was(tmp_path: Path, device: str) -> None:
    run = trainer(RNGState(), max_steps=3)
    run.fit(Small(), datamodule=DigitsDataModule())
    run.save_checkpoint(tmp_path / "model.ckpt")
    expected = torch.rand(3)
    expected_of_python = random.random()
    torch.manual_seed(99)
    random.seed(99)

    class Draw(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            self.drawn = torch.rand(3)
            self.drawn_of_python = random.random()

    draw = Draw()
    again = trainer(RNGState(), draw, max_steps=4)
    again.fit(
        Small(),
        datamodule=DigitsDataModule(),
        ckpt_path=tmp_path / "model.ckpt",
        weights_only=True,
    )
    assert torch.equal(draw.drawn, expected)
    assert draw.drawn_of_python == expected_of_python


def test_rng_state_of_other_processes_is_not_dropped_in_silence(tmp_path: Path) -> None:
    run = trainer(RNGState(), max_steps=3)
    run.fit(Small(), datamodule=DigitsDataModule())
    run.save_checkpoint(tmp_path / "one.ckpt")
    checkpoint = torch.load(tmp_path / "one.ckpt", weights_only=True)
    checkpoint["rng_states"] *= 2
    torch.save(checkpoint, tmp_path / "two.ckpt")
    resumes = {"ckpt_path": tmp_path / "two.ckpt", "weights_only": True}
    with pytest.warns(UserWarning, match=r"of 2 processes and this run has 1: .* resume with as"):
        trainer(RNGState(), max_steps=4).fit(Small(), datamodule=DigitsDataModule(), **resumes)
    trainer(RNGState()).validate(Small(), DigitsDataModule(), **resumes)  # without a warning


def test_tensorboard_holds_what_was_promised(tmp_path: Path, device: str) -> None:
    logger = TensorBoardLogger(tmp_path, name="run", log_graph=True, default_hp_metric=False)
    run = trainer(
        Throughput(),
        HParams(),
        PredictionFigures(count=8),
        ConfusionMatrixFigure(),
        FirstLayerFilters(),
        logger=logger,
    )
    model, data = Small(), DigitsDataModule()
    for part in (model, data):  # LightningCLI's own note, which differs between the two
        part.save_hyperparameters({"_class_path": type(part).__name__})
    run.fit(model, datamodule=data)
    run.test(model, datamodule=data, verbose=False)
    log = events(logger)
    scalars = set(log.Tags()["scalars"])
    assert {"train/loss", "val/loss", "val/acc", "test/acc", "train/images_per_sec"} <= scalars
    assert not any("hp_metric" in name for name in scalars)
    assert set(log.Tags()["images"]) == {
        "images/filters",
        "test/confusion",
        "test/mistakes",
        "test/predictions",
    }
    assert log.Tags()["graph"]
    assert len(log.Images("images/filters")) == 3
    plugins = log.summary_metadata.values()
    pages = [m.plugin_data.content for m in plugins if m.plugin_data.plugin_name == "hparams"]
    listed = {
        name
        for page in pages
        for name in HParamsPluginData.FromString(page).session_start_info.hparams
    }
    assert {"lr", "batch_size"} <= listed
    assert not [name for name in listed if "_class_path" in name]
    assert all(value.value > 0 for value in log.Scalars("train/images_per_sec"))
    for name in ("predictions", "mistakes"):
        assert (Path(logger.log_dir) / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_the_most_confident_ones(tmp_path: Path, device: str) -> None:
    callback = PredictionFigures(count=5)
    run = trainer(callback, logger=TensorBoardLogger(tmp_path, default_hp_metric=False))
    model, data = Small(), DigitsDataModule(eval_batch_size=50)
    run.test(model, datamodule=data, verbose=False)
    images, labels = (tensor.cpu() for tensor in data._splits["test"])
    probabilities = evaluate(model, images).softmax(dim=1)
    confidence, predicted = probabilities.max(dim=1)
    expected = confidence[predicted != labels].topk(5).values
    kept = torch.cat([p for _, p, _ in callback._wrong]).amax(dim=1).topk(5).values
    assert torch.allclose(kept.cpu(), expected, atol=1e-4)


def test_confusion_figure_writes_the_counts() -> None:
    figure = confusion_figure(torch.tensor([[3, 1], [0, 2]]))
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "2"]
    assert axes.get_title() == "5 of 6 right"


def test_filters_are_drawn_every_few_epochs_and_at_the_end(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    run = trainer(FirstLayerFilters(every_n_epochs=2), logger=logger, max_epochs=5)
    run.fit(Small(), datamodule=DigitsDataModule())
    steps = [image.step for image in events(logger).Images("images/filters")]
    assert steps == [run.global_step // 5 * epoch for epoch in (0, 2, 4, 5)]
    with pytest.raises(ValueError, match="every_n_epochs must be at least 1, got 0"):
        FirstLayerFilters(every_n_epochs=0)


@pytest.mark.parametrize("shape", [(8, 1, 3, 3), (16, 784)])
def test_filters_are_images(shape: tuple[int, ...]) -> None:
    images = filter_images(torch.randn(shape))
    assert images.shape[:2] == (shape[0], 3)
    assert 0 <= images.min() <= images.max() <= 1


def test_plain_progress_prints_one_line_an_epoch(
    capsys: pytest.CaptureFixture[str], device: str
) -> None:
    trainer(PlainProgress()).fit(Small(), datamodule=DigitsDataModule())
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2  train/loss ")
    assert " val/acc " in lines[1]
    assert "\x1b" not in lines[1]
    assert "\r" not in lines[1]


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 3}])
def test_plain_progress_prints_the_mean_loss_of_the_epoch(
    capsys: pytest.CaptureFixture[str], device: str, options: dict
) -> None:
    seen: list[float] = []

    class Kept(Small):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            seen.append(loss.item())
            return loss

    trainer(PlainProgress(), **options).fit(Kept(), datamodule=DigitsDataModule())
    half = len(seen) // 2
    for line, losses in zip(
        capsys.readouterr().out.strip().splitlines(),
        (seen[:half], seen[half:]),
        strict=True,
    ):
        printed = float(line.split("train/loss ")[1].split()[0])
        assert printed == pytest.approx(sum(losses) / half, abs=1e-4)
        assert printed != pytest.approx(losses[-1], abs=1e-3)


def test_plain_progress_tells_a_small_loss_from_0(
    capsys: pytest.CaptureFixture[str], device: str
) -> None:
    class Tiny(Small):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * 1e-9

    trainer(PlainProgress(), max_epochs=1).fit(Tiny(), datamodule=DigitsDataModule())
    assert re.search(r"train/loss \d\.\de-09 ", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("value", "said"),
    [(1.1e36, "1.1e+36"), (1e6, "1.0e+06"), (-999999.0, "-999999.0000"), (math.inf, "inf")],
)
def test_a_large_number_has_its_exponent(value: float, said: str) -> None:
    assert rounded(value) == said


def test_plain_progress_repeats_no_old_validation(
    capsys: pytest.CaptureFixture[str], device: str
) -> None:
    run = trainer(PlainProgress(), max_epochs=4, check_val_every_n_epoch=2, num_sanity_val_steps=2)
    run.fit(Small(), datamodule=DigitsDataModule())
    lines = capsys.readouterr().out.strip().splitlines()
    assert ["val/acc" in line for line in lines] == [False, True, False, True]


def test_plain_progress_times_the_rest_of_a_resumed_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(BestAndLast(), max_steps=5, default_root_dir=tmp_path).fit(
        Small(), datamodule=DigitsDataModule()
    )
    last = tmp_path / "checkpoints" / "last.ckpt"
    capsys.readouterr()
    again = trainer(BestAndLast(), PlainProgress(), max_epochs=1, default_root_dir=tmp_path)
    again.fit(Small(), datamodule=DigitsDataModule(), ckpt_path=last, weights_only=True)
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert float(line.split()[-2]) < 60, line
