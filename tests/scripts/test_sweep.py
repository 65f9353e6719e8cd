"""``gpu-learning sweep`` with real fits of a few steps."""

import multiprocessing
import os
import random
import re
import shlex
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna", reason="needs the extra sweep")
import optuna
from optuna.trial import FrozenTrial, TrialState

from scripts.cli import main
from tests.helpers import forks
from tests.helpers.commands import bad
from training.runs import read_checkpoint
from training.sweep.space import read_sweep
from training.sweep.study import is_done, open_storage, open_study

Run = Callable[..., tuple[int, str, str]]
SQLITE = "sqlite:///logs/sweeps/quick/study.db"
# postgresql://USER:PASSWORD@HOST/DATABASE, of a database that may be filled
POSTGRES = os.environ.get("GPU_LEARNING_POSTGRES", "")
QUICK = {
    "config": "configs/digits_cnn.yaml",
    "options": "{trainer.max_epochs: 2, trainer.limit_train_batches: 3, 'trainer.callbacks': []}",
    "trials": "2",
    "seeds": "[0, 1]",
    "space": "{model.lr: {low: 1.0e-3, high: 1.0e-2}, model.channels: {choices: [[4, 8], [8, 8]]}}",
}


def sweep_file(**changes: str) -> str:
    text = "".join(f"{key}: {value}\n" for key, value in (QUICK | changes).items())
    Path("quick.yaml").write_text(text)
    return "quick.yaml"


def trials(url: str = SQLITE) -> list[FrozenTrial]:
    storage = open_storage(url, 20)
    try:
        return optuna.load_study(study_name="quick", storage=storage).get_trials()
    finally:
        close(storage)


def close(storage: optuna.storages.RDBStorage) -> None:
    """From Python 3.13 on, a connection that is left open is a ResourceWarning."""
    storage.remove_session()
    storage.engine.dispose()


@pytest.mark.slow
def test_a_sweep_its_report_and_its_best_trial(gpu_learning: Run, device: str) -> None:
    code, out, err = gpu_learning("sweep", sweep_file())
    assert code == 0, err
    done = trials()
    assert [one.state for one in done] == [TrialState.COMPLETE] * 2
    report = Path("logs/sweeps/quick/report.md").read_text()
    assert report.strip() in out
    best = max(done, key=lambda one: one.value)
    scores = best.user_attrs["scores"]
    assert best.value == pytest.approx(sum(scores.values()) / 2)
    assert f"Best: trial {best.number}, val/acc" in report
    assert "(n = 2 seeds)" in report
    # Its parameters are listed beside the scores on TensorBoard's page.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(f"logs/sweeps/quick/trial_{best.number:03d}_seed_1").Reload()
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")
    # The printed command is a fit of its own that ends with the same score.
    command = next(line for line in report.splitlines() if line.startswith("gpu-learning fit"))
    code, _, err = gpu_learning(*shlex.split(command)[1:])
    assert code == 0, err
    checkpoint = Path("logs/digits_cnn/version_0/checkpoints/best.ckpt")
    if device == "cpu":
        assert read_checkpoint(checkpoint).score == scores["0"]
    else:
        assert read_checkpoint(checkpoint).score == pytest.approx(scores["0"], abs=0.05)
    test = next(line for line in report.splitlines() if line.startswith("gpu-learning test"))
    assert gpu_learning(*shlex.split(test)[1:])[0] == 0

    # The same command finds nothing to do, and continues where more is asked for.
    began = {path: path.stat().st_mtime_ns for path in Path("logs/sweeps").rglob("*.ckpt")}
    assert gpu_learning("sweep", "quick.yaml")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in began} == began
    assert gpu_learning("sweep", "quick.yaml", "--trials=3")[0] == 0
    assert len(trials()) == 3


@pytest.mark.slow
def test_a_trial_that_lags_is_given_up(gpu_learning: Run, workplace: Path) -> None:
    space = "{model.lr: {choices: [0.003, 1.0e-9]}}"
    options = "{trainer.max_epochs: 2, trainer.limit_train_batches: 12, 'trainer.callbacks': []}"
    pruning = "{startup_trials: 1, warmup_epochs: 0}"
    name = sweep_file(space=space, options=options, seeds="[0, 1]", pruning=pruning, trials="1")
    queue(name, [{"model.lr": 0.003}, {"model.lr": 1e-9}])
    assert gpu_learning("sweep", name, "--trials=2")[0] == 0
    good, lagging = trials()
    assert good.state == TrialState.COMPLETE
    assert list(good.intermediate_values) == [0, 1]
    assert lagging.state == TrialState.PRUNED
    assert list(lagging.intermediate_values) == [0]
    assert not Path("logs/sweeps/quick/trial_001_seed_1").exists()
    assert "1 complete, 1 given up early" in Path("logs/sweeps/quick/report.md").read_text()


def test_a_trial_that_diverges_is_reported(gpu_learning: Run, workplace: Path) -> None:
    name = sweep_file(space="{model.lr: {choices: [0.003, 1.0e+30]}}", seeds="[0]")
    queue(name, [{"model.lr": 1e30}, {"model.lr": 0.003}])
    code, out, err = gpu_learning("sweep", name)
    assert code == 0, err
    diverged, good = trials()
    assert (diverged.state, good.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert "| 0 | the training loss is " in out
    assert "1 complete, 0 given up early, 1 failed" in out


def queue(name: str, parameters: list[dict[str, Any]], url: str = SQLITE) -> None:
    """Makes the study, and has its first trials try these."""
    storage = open_storage(url, 20)
    study = open_study(storage, "quick", read_sweep(Path(name)))
    for one in parameters:
        study.enqueue_trial(one)
    close(storage)


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"metric": "val/accuracy"}, [], "'val/accuracy' is not logged; the validation logs val/"),
        ({"space": "{}"}, [], "space is empty"),
        ({"space": "{model.lrr: {low: 0.1, high: 1.0}}"}, [], "did you mean"),
        ({"space": "{model.lr: {choices: [0.1, fast]}}"}, [], "lr"),
        ({"config": "configs/digit_cnn.yaml"}, [], "/configs/digits_cnn.yaml?"),
        ({"options": "{trainer.max_epoch: 1}"}, [], "did you mean 'trainer.max_epochs'?"),
        ({"options": "{data.val_size: 0, trainer.max_epochs: 1}"}, [], "val_size above 0"),
        ({}, ["--storage", "study.db"], "is not the URL of a database"),
        ({}, ["--storage", "nosuch://u:secret@h/d"], "cannot be used"),
    ],
)
def test_bad_input(
    changes: dict[str, str], options: list[str], said: str, gpu_learning: Run, workplace: Path
) -> None:
    _, sentence = bad(gpu_learning, "sweep", sweep_file(**changes), *options)
    assert said in sentence
    assert "secret" not in sentence
    assert not list(Path().rglob("*.ckpt"))


def test_a_storage_of_another_space(gpu_learning: Run, workplace: Path) -> None:
    queue(sweep_file(), [])
    name = sweep_file(space="{model.lr: {low: 1.0e-3, high: 2.0e-2}}")
    assert "is another sweep" in bad(gpu_learning, "sweep", name)[1]


def test_runs_of_a_study_that_is_gone(gpu_learning: Run, workplace: Path) -> None:
    Path("logs/sweeps/quick/trial_000_seed_0").mkdir(parents=True)
    assert "holds runs of trials" in bad(gpu_learning, "sweep", sweep_file())[1]


def test_an_experiment_or_a_mistyped_file_is_no_sweep(gpu_learning: Run, workplace: Path) -> None:
    _, said = bad(gpu_learning, "sweep", "configs/digits_cnn.yaml")
    assert "this is an experiment; a sweep names it under its key config" in said
    _, said = bad(gpu_learning, "sweep", "configs/sweeps/digit_cnn.yaml")
    assert "did you mean configs/sweeps/digits_cnn.yaml?" in said


def test_wrong_usage(gpu_learning: Run, workplace: Path) -> None:
    for options in (["--trials=0"], ["--heartbeat=0"], ["--trial=3"]):
        assert gpu_learning("sweep", sweep_file(), *options)[0] == 2


def start(name: str, *options: str) -> Any:
    """The command in a process of its own, which shares nothing with this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.helpers.forks", "training.sweep.trial"])
    process = context.Process(
        target=forks._run,
        args=(
            ["sweep", name, "--heartbeat=1", *options],
            Path.cwd(),
            Path(f"log_{time.monotonic_ns()}"),
        ),
    )
    process.start()
    return process


def running() -> set[int]:
    """Numbers of the trials that are running, or were when their worker died."""
    path = Path("logs/sweeps/quick/study.db").resolve()
    if not path.is_file():
        return set()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as database:
        try:
            rows = database.execute("SELECT number FROM trials WHERE state = 'RUNNING'").fetchall()
        except sqlite3.OperationalError:  # the tables are not there yet
            return set()
    return {number for (number,) in rows}


@pytest.mark.slow
def test_killed_at_random_points_and_resumed(workplace: Path) -> None:
    """No trial is lost, none counts twice, and what died is tried again with its parameters."""
    name = sweep_file(trials="4", pruning="null")
    moments = random.Random(0)
    for _ in range(3):
        before = running()
        process = start(name)
        deadline = time.monotonic() + 120
        while not running() - before:
            assert time.monotonic() < deadline
            assert process.is_alive()
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 1.0))  # somewhere in the trial, or in the next
        process.kill()
        process.join()
    process = start(name)
    process.join()
    assert process.exitcode == 0
    check_complete(4, killed=3)


def check_complete(count: int, killed: int = 0, url: str = SQLITE) -> None:
    done = trials(url)
    assert not [one.number for one in done if one.state in (TrialState.RUNNING, TrialState.WAITING)]
    complete = [one for one in done if one.state == TrialState.COMPLETE]
    died = [one for one in done if one.state == TrialState.FAIL and not is_done(one)]
    assert len(complete) == count
    assert len(died) <= killed
    for one in died:
        if not one.params:  # killed before it had any
            continue
        again = [
            other for other in done if one.number in other.system_attrs.get("retry_history", ())
        ]
        assert again
        assert all(other.params == one.params for other in again)
    for one in complete:
        for seed in (0, 1):
            run = Path(f"logs/sweeps/quick/trial_{one.number:03d}_seed_{seed}")
            score = read_checkpoint(run / "checkpoints" / "best.ckpt").score
            assert score == one.user_attrs["scores"][str(seed)]
    report = Path("logs/sweeps/quick/report.md").read_text()
    assert re.search(rf"\| trials \| {count} complete, 0 given up early, 0 failed", report)


@pytest.mark.slow
def test_two_workers_on_one_storage(workplace: Path) -> None:
    name = sweep_file(trials="6", pruning="null")
    both = [start(name), start(name)]
    for process in both:
        process.join()
    logs = [path.read_text() for path in Path().glob("log_*")]
    assert [process.exitcode for process in both] == [0, 0], logs
    check_complete(6)
    workers = {one.user_attrs["worker"] for one in trials()}
    assert len(workers) == 2


@pytest.mark.slow
@pytest.mark.skipif(not POSTGRES, reason="needs a PostgreSQL database in GPU_LEARNING_POSTGRES")
def test_workers_on_postgresql(workplace: Path) -> None:
    """Two begin at once; one is killed within a trial, and the other one completes the sweep."""
    storage = open_storage(POSTGRES, 20)
    if "quick" in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name="quick", storage=storage)
    close(storage)
    name = sweep_file(trials="6", pruning="null")
    queue(name, [], POSTGRES)
    killed, other = (start(name, f"--storage={POSTGRES}") for _ in range(2))
    deadline = time.monotonic() + 120
    while not any(
        one.state == TrialState.RUNNING
        and one.user_attrs.get("worker", "").endswith(f":{killed.pid}")
        for one in trials(POSTGRES)
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    killed.kill()
    killed.join()
    other.join()
    assert other.exitcode == 0, [path.read_text() for path in Path().glob("log_*")]
    check_complete(6, killed=1, url=POSTGRES)


def test_ctrl_c_says_how_to_go_on(workplace: Path, capfd, monkeypatch) -> None:
    monkeypatch.setattr("scripts.sweep.main", lambda argv: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["sweep", "quick.yaml"]) == 130
    assert "the same command continues" in capfd.readouterr().err
