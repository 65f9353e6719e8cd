"""The run's own TensorBoard logger: which chart a metric is in, and what HParams reads."""

import pickle
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from callbacks import HParams, LearningRateLog
from callbacks.tensorboard import CurvesLogger, curve
from datamodules import DigitsDataModule
from lightning_modules import MNISTMLP
from tests.conftest import quiet_trainer


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("train/loss", ("", "curves/loss")),
        ("val/loss", ("val", "curves/loss")),
        ("val/bits_per_char", ("val", "curves/bits_per_char")),
        ("train/images_per_sec", ("", "speed/images_per_sec")),
        ("train/mfu", ("", "speed/mfu")),
        ("lr", ("", "curves/lr")),
        ("lr/group1", ("", "curves/lr/group1")),
        ("test/acc", ("", "test/acc")),
        ("test/acc_7", ("", "test_classes/acc_7")),
        ("drift/perplexity", ("", "drift/perplexity")),
    ],
)
def test_where_a_metric_is_drawn(name: str, place: tuple[str, str]) -> None:
    assert curve(name) == place


@pytest.fixture
def logger(tmp_path: Path, device: str) -> CurvesLogger:
    logger = CurvesLogger(tmp_path, name="run", default_hp_metric=False)
    run = quiet_trainer(
        max_epochs=2,
        log_every_n_steps=5,
        logger=logger,
        callbacks=[HParams(("val/acc", "test/acc")), LearningRateLog()],
    )
    model, data = MNISTMLP(hidden=(16,)), DigitsDataModule()
    run.fit(model, datamodule=data)
    run.test(model, datamodule=data, verbose=False)
    return logger


def scalars(folder: Path) -> dict[str, list[int]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [e.step for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_training_and_validation_share_a_chart(logger: CurvesLogger) -> None:
    run = Path(logger.log_dir)
    val, own = scalars(run / "val"), scalars(run)
    assert set(val) == {"curves/loss", "curves/acc"}
    assert own["curves/loss"][:3] == own["curves/acc"][:3] == [4, 9, 14]
    assert len(val["curves/loss"]) == 2
    assert {"curves/loss", "curves/lr", "test/acc", "test/loss"} <= set(own)
    assert not {"epoch", "curves/epoch"} & set(own)
    assert not list(run.glob("*/hparams.yaml"))  # a folder of curves is no run of its own


def test_hparams_reads_the_curves_and_shows_the_learning_rate(logger: CurvesLogger) -> None:
    events = EventAccumulator(logger.log_dir).Reload()
    content = events.summary_metadata["_hparams_/experiment"].plugin_data.content
    page = HParamsPluginData.FromString(content).experiment
    assert not any(column.differs for column in page.hparam_infos)  # of one run nobody knows
    started = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    values = HParamsPluginData.FromString(started).session_start_info.hparams
    assert values["lr"].number_value == 0.001
    assert values["schedule"].string_value == "none"
    assert values["max_epochs"].number_value == 2
    assert values["accumulate_grad_batches"].number_value == 1
    assert values["precision"].string_value == "32-true"
    assert "gradient_clip_val" not in values  # it is off
    metrics = [(m.display_name, m.name.group, m.name.tag) for m in page.metric_infos]
    assert metrics == [("val/acc", "val", "curves/acc"), ("test/acc", "", "test/acc")]
    for _, folder, tag in metrics:
        assert tag in scalars(Path(logger.log_dir) / folder)


def test_tensorboard_finds_what_differs_between_runs(tmp_path: Path, device: str) -> None:
    """As its HParams page does, over runs of different classes, too."""
    for lr, hidden in ((0.001, (16,)), (0.01, (16,)), (0.01, (8, 8))):
        run = quiet_trainer(
            max_epochs=1,
            limit_train_batches=2,
            log_every_n_steps=1,
            logger=CurvesLogger(tmp_path, name="run", default_hp_metric=False),
            callbacks=[HParams()],
        )
        run.fit(MNISTMLP(hidden=hidden, lr=lr), datamodule=DigitsDataModule())
    runs = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    runs.Reload()
    shown = Context(TBContext(data_provider=MultiplexerDataProvider(runs, str(tmp_path))))
    sessions = shown.hparams_metadata(RequestContext(), "")
    found = shown.experiment_from_metadata(RequestContext(), "", True, sessions, [])
    names = [column.name for column in found.hparam_infos]
    assert {column.name for column in found.hparam_infos if column.differs} == {"hidden", "lr"}
    assert names[:2] == ["hidden", "lr"]
    assert {"batch_size", "max_epochs", "precision", "schedule"} < set(names)
    metrics = {(metric.name.group, metric.name.tag) for metric in found.metric_infos}
    assert {("val", "curves/acc"), ("val", "curves/loss"), ("", "curves/loss")} <= metrics


def test_it_travels_to_other_processes(logger: CurvesLogger) -> None:
    other = pickle.loads(pickle.dumps(logger))
    other.log_metrics({"val/loss": 0.5, "epoch": 2}, step=99)
    other.finalize("success")
    # Of two files of one second the accumulator may read the later one first, by its name.
    assert 99 in scalars(Path(logger.log_dir) / "val")["curves/loss"]
