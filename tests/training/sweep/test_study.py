"""Workers of one study: deaths, Ctrl-C, two at once, and a storage of another sweep."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

pytest.importorskip("optuna", reason="needs the extra sweep")
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from training.sweep.space import Sweep
from training.sweep.study import Worker, is_done, open_storage, open_study

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
SWEEP = Sweep(("a.yaml",), {"x": FloatDistribution(0, 1)}, trials=4)
URL = "sqlite:///study.db"


OPENED: list[Any] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """From Python 3.13 on, a connection that is left open is a ResourceWarning."""
    yield
    for storage in OPENED:
        storage.remove_session()
        storage.engine.dispose()
    OPENED.clear()


def study(sweep: Sweep = SWEEP, heartbeat: int = 20, name: str = "one") -> Any:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    OPENED.append(open_storage(URL, heartbeat))
    return open_study(OPENED[-1], name, sweep)


def elsewhere() -> Any:
    """The study, as a program that knows nothing of heartbeats has it."""
    OPENED.append(optuna.storages.RDBStorage(URL))
    return optuna.load_study(study_name="one", storage=OPENED[-1])


def worker(objective: Any, trials: int = 4, heartbeat: int = 20) -> Worker:
    return Worker(study(heartbeat=heartbeat), trials, objective, (ZeroDivisionError,), 0.05)


def suggest(trial: Any) -> float:
    return trial.suggest_float("x", 0, 1)


def test_all_trials_are_run_once(workplace: Path, capsys) -> None:
    worker(suggest).run()
    trials = study().get_trials()
    assert [one.state for one in trials] == [TrialState.COMPLETE] * 4
    assert "trial 3 (4 of 4): " in capsys.readouterr().out
    worker(lambda trial: pytest.fail("there is nothing to do")).run()
    worker(suggest, trials=6).run()
    assert len(study().get_trials()) == 6


def test_a_trial_may_fail_of_its_parameters(workplace: Path, capsys) -> None:
    def objective(trial: Any) -> float:
        suggest(trial)
        return 1 / (trial.number % 2)

    worker(objective).run()
    trials = study().get_trials()
    assert [one.state for one in trials] == [TrialState.FAIL, TrialState.COMPLETE] * 2
    assert all(map(is_done, trials))
    assert trials[0].user_attrs["failure"] == "division by zero"


def test_an_error_of_the_experiment_ends_the_worker(workplace: Path) -> None:
    def objective(trial: Any) -> float:
        raise ValueError("no such metric")

    with pytest.raises(ValueError, match="no such metric"):
        worker(objective).run()
    assert not any(map(is_done, study().get_trials()))


def test_ctrl_c_leaves_the_parameters_to_the_next(workplace: Path) -> None:
    drawn = []

    def interrupted(trial: Any) -> float:
        drawn.append(suggest(trial))
        if trial.number == 1:
            raise KeyboardInterrupt
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        worker(interrupted).run()
    worker(suggest).run()
    trials = study().get_trials()
    assert sum(map(is_done, trials)) == 4
    assert [one.number for one in trials if one.state == TrialState.FAIL] == [1]
    again = [one for one in trials if one.system_attrs.get("retry_history") == [1]]
    assert [one.params["x"] for one in again] == [drawn[1]]
    assert again[0].state == TrialState.COMPLETE


@pytest.mark.slow
def test_a_dead_worker_s_trial_is_tried_again(workplace: Path) -> None:
    """A process that ends without a word, as one that is killed does."""
    child = os.fork()
    if child == 0:
        try:
            worker(lambda trial: (suggest(trial), os._exit(9)), heartbeat=1).run()
        finally:
            os._exit(70)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    (dead,) = study().get_trials()
    assert dead.state == TrialState.RUNNING
    worker(suggest, heartbeat=1).run()  # waits for three missed signs of life
    trials = study().get_trials()
    assert [one.number for one in trials if one.state == TrialState.FAIL] == [0]
    assert sum(map(is_done, trials)) == 4
    again = [one for one in trials if one.system_attrs.get("retry_history") == [0]]
    assert [one.params for one in again] == [dead.params]


@pytest.mark.slow
def test_a_worker_that_died_before_its_first_sign_of_life(workplace: Path) -> None:
    study()
    elsewhere().ask()  # without a heartbeat, and for ever
    worker(suggest, trials=2, heartbeat=1).run()
    trials = study().get_trials()
    assert [one.number for one in trials if one.state == TrialState.FAIL] == [0]
    assert sum(map(is_done, trials)) == 2


def test_a_worker_that_was_taken_for_dead_goes_on(workplace: Path, capsys) -> None:
    def objective(trial: Any) -> float:
        value = suggest(trial)
        if trial.number == 0:  # as another worker does that misses the signs of life
            elsewhere()._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        return value

    worker(objective).run()
    assert "its outcome here does not count" in capsys.readouterr().err
    states = [one.state for one in study().get_trials()]
    assert states == [TrialState.FAIL] + [TrialState.COMPLETE] * 4


def test_two_workers_at_once_run_as_many_as_asked_for(workplace: Path) -> None:
    study()
    meet = Barrier(2, timeout=60)
    ran = []

    def objective(trial: Any) -> float:
        ran.append(trial.number)
        if len(ran) < 3:
            meet.wait()  # both work on their first one at the same time
        return suggest(trial)

    threads = [Thread(target=worker(objective, trials=5).run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trials = study().get_trials()
    assert sum(one.state == TrialState.COMPLETE for one in trials) == 5
    assert len(ran) == len(set(ran)) == 5


def test_the_later_of_two_last_trials_steps_back(workplace: Path) -> None:
    ours = worker(suggest, trials=1)
    another = elsewhere()
    other = another.ask()  # has begun meanwhile
    ours._run_one()
    assert [one.state for one in study().get_trials()] == [TrialState.RUNNING, TrialState.FAIL]
    assert not any(map(is_done, study().get_trials()))
    another.tell(other, 0.5)
    ours.run()
    assert sum(map(is_done, study().get_trials())) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space": {"x": FloatDistribution(0, 2)}}, "space: x was Float"),
        ({"space": {"y": FloatDistribution(0, 1)}}, "space: y was not set"),
        ({"metric": "val/loss"}, "metric was val/acc (max) and is val/loss (max)"),
        ({"seeds": (1,)}, "seeds was [0, 1, 2] and is [1]"),
        ({"configs": ("b.yaml",)}, "config was a.yaml and is b.yaml"),
    ],
)
def test_a_storage_of_another_sweep(change: dict[str, Any], said: str, workplace: Path) -> None:
    study()
    other = {"configs": SWEEP.configs, "space": SWEEP.space} | change
    with pytest.raises(ValueError, match="is another sweep") as error:
        study(Sweep(**other))
    assert said in str(error.value)
    study(Sweep(**other), name="two")


@pytest.mark.parametrize(
    "url",
    [
        "study.db",
        "nosuch://host/db",
        "postgresql://me:secret@127.0.0.1:1/db",
        "sqlite:////proc/no/study.db",
    ],
)
def test_a_storage_that_cannot_be_used(url: str, workplace: Path) -> None:
    with pytest.raises((ValueError, OSError)) as error:
        open_storage(url, 20)
    assert "secret" not in str(error.value)


def test_a_file_that_is_no_database(workplace: Path) -> None:
    Path("study.db").write_text("not a database, but a file of some length\n" * 40)
    with pytest.raises(ValueError, match="cannot be used: file is not a database"):
        open_storage(URL, 20)
