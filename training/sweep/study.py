"""A study in a storage that several workers share and that outlives them."""

import json
import os
import re
import socket
import sys
import time
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from training.sweep.space import Sweep, decoded

_SPACE = "space"  # the study's attribute that says what its trials have in common
_RETRIES = 3
_ATTEMPTS = 10


class NotNeeded(Exception):
    """The trial is another worker's: of the last two begun at once, or of one taken for dead."""


def open_storage(url: str, heartbeat: int) -> RDBStorage:
    """The database, whose tables are made where there are none.

    Args:
        url: of SQLAlchemy: ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/DATABASE``.
        heartbeat: seconds between two signs of life of a running trial. Three missed ones and
            another worker marks it failed and tries its parameters again, three times at most.

    Raises:
        ValueError: it cannot be reached, without the password in the sentence.
    """
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise ValueError(
            f"{url} is not the URL of a database; write sqlite:///FILE or "
            "postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from error
    if address.drivername == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    engine = None
    if address.drivername == "sqlite" and address.database:
        Path(address.database).parent.mkdir(parents=True, exist_ok=True)
        engine = {"connect_args": {"timeout": 60}}  # seconds that a worker waits for another's lock
    for attempt in range(_ATTEMPTS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return RDBStorage(
                    address.render_as_string(hide_password=False),
                    engine_kwargs=engine,
                    heartbeat_interval=heartbeat,
                    grace_period=3 * heartbeat,
                    heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(_RETRIES),
                )
        except (SQLAlchemyError, ImportError, NoSuchModuleError, RuntimeError) as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            # Workers that begin at the same moment all make the tables and write their version.
            raced = isinstance(error, IntegrityError) or re.search("already exists|locked", reason)
            if attempt + 1 < _ATTEMPTS and raced:
                time.sleep(0.5)
                continue
            raise ValueError(
                f"the storage {address.render_as_string(hide_password=True)} cannot be used: "
                f"{reason}"
            ) from error
    raise AssertionError("the last attempt returns or raises")


def open_study(storage: RDBStorage, name: str, sweep: Sweep) -> optuna.Study:
    """The study of that name, new or with the trials it has.

    Raises:
        ValueError: its trials are of another space, metric or experiment.
    """
    # Workers must not draw the same parameters, so the sampler takes no seed.
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize" if sweep.mode == "max" else "minimize",
        load_if_exists=True,
        pruner=_pruner(sweep),
    )
    now = sweep.identity()
    then = study.user_attrs.get(_SPACE)
    if then is None:
        study.set_user_attr(_SPACE, now)
    elif then != now:
        changed = [
            f"{key} was {then.get(key, 'not set')} and is {now.get(key, 'not set')}"
            for key in {**then, **now}
            if then.get(key) != now.get(key)
        ]
        raise ValueError(
            f"the study {name} in this storage is another sweep: {'; '.join(changed)}. Begin one "
            "of another name with --name, or put the file back"
        )
    return study


def _pruner(sweep: Sweep) -> BasePruner:
    if sweep.pruning is None:
        return NopPruner()
    return MedianPruner(
        n_startup_trials=sweep.pruning.startup_trials,
        n_warmup_steps=sweep.pruning.warmup_epochs,
    )


def is_done(trial: FrozenTrial) -> bool:
    """Whether the trial has an outcome; one that died has none, and runs again as another."""
    finished = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return finished or (trial.state == TrialState.FAIL and "failure" in trial.user_attrs)


class Worker:
    """Runs trials of a study until there are as many as the sweep asks for.

    Args:
        study: shared with other workers or not.
        trials: how many in all.
        objective: runs one and returns its value.
        failures: errors that are an outcome of a trial's parameters.
        patience: seconds between two looks at the trials of others.
    """

    def __init__(
        self,
        study: optuna.Study,
        trials: int,
        objective: Callable[[optuna.Trial], float],
        failures: tuple[type[Exception], ...],
        patience: float,
    ) -> None:
        self.study = study
        self.trials = trials
        self.objective = objective
        self.failures = failures
        self.patience = patience
        self._known: set[int] = set()  # running trials that have a sign of life

    def run(self) -> None:
        """Returns when all trials are done, those of other workers included."""
        waits = False
        while True:
            self._retry_dead()
            trials = self.study.get_trials(deepcopy=False)
            running = [one for one in trials if one.state == TrialState.RUNNING]
            done = sum(map(is_done, trials))
            if done >= self.trials:
                return
            if done + len(running) < self.trials:
                self._run_one()
                waits = False
                continue
            if not waits:
                names = ", ".join(str(one.number) for one in running)
                print(f"gpu-learning: waits for trials of others: {names}", file=sys.stderr)
            waits = True
            time.sleep(self.patience)

    def _retry_dead(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)
        # A worker may die between the begin of a trial and its first sign of life, and Optuna
        # waits for ever for a trial that never had one. This is the first; nobody makes a second.
        storage = self.study._storage
        assert isinstance(storage, BaseHeartbeat)
        grace = timedelta(seconds=3 * (storage.get_heartbeat_interval() or 1))
        for one in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            begun = one.datetime_start or datetime.now()
            if one.number not in self._known and datetime.now() - begun > grace:
                self._known.add(one.number)
                storage.record_heartbeat(one._trial_id)

    def _run_one(self) -> None:
        try:
            self.study.optimize(
                self._judged, n_trials=1, catch=(*self.failures, NotNeeded), callbacks=[self._say]
            )
        except KeyboardInterrupt:
            self._give_back()
            raise
        except ValueError as error:
            if not str(error).startswith("Cannot tell a"):
                raise
            # This process stood still, as on a laptop that slept, and another took it for dead.
            print(
                "gpu-learning: a trial of this worker showed no sign of life and was given to "
                "another one; its outcome here does not count",
                file=sys.stderr,
            )

    def _judged(self, trial: optuna.Trial) -> float:
        trial.set_user_attr("worker", _me())
        others = self.study.get_trials(deepcopy=False)
        ahead = [one for one in others if one.number < trial.number]
        if sum(is_done(one) or one.state == TrialState.RUNNING for one in ahead) >= self.trials:
            raise NotNeeded
        try:
            value = self.objective(trial)
        except self.failures as error:
            trial.set_user_attr("failure", " ".join(str(error).split()))
            raise
        mine = next(one for one in self.study.get_trials() if one.number == trial.number)
        if mine.state != TrialState.RUNNING:
            raise NotNeeded  # Optuna refuses the outcome, which _run_one reports
        return value

    def _give_back(self) -> None:
        """Ctrl-C ended the trial: its parameters are tried again by whoever comes next."""
        trials = self.study.get_trials()
        retried = {n for one in trials for n in one.system_attrs.get("retry_history", ())}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            for one in trials:
                mine = one.user_attrs.get("worker") == _me() and one.state == TrialState.FAIL
                if mine and not is_done(one) and one.number not in retried and one.params:
                    RetryHeartbeatStaleTrialCallback()(self.study, one)

    def _say(self, study: optuna.Study, trial: FrozenTrial) -> None:
        done = sum(map(is_done, study.get_trials(deepcopy=False)))
        outcome = trial.user_attrs.get("failure")
        if trial.state == TrialState.COMPLETE:
            outcome = f"{trial.value:.4f}"
        elif trial.state == TrialState.PRUNED:
            outcome = f"given up after epoch {trial.last_step}"
        elif outcome is None:
            return
        print(f"trial {trial.number} ({done} of {self.trials}): {outcome}, {_said(trial)}")


def _me() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _said(trial: FrozenTrial) -> str:
    return ", ".join(f"{name}={json.dumps(one)}" for name, one in decoded(trial.params).items())
