"""A worker of a sweep, to its report."""

import logging
from pathlib import Path

import optuna
from sqlalchemy.engine import make_url

from training.parsed_cli import ParsedCLI
from training.sweep.report import markdown
from training.sweep.space import Sweep
from training.sweep.study import Worker, open_storage, open_study
from training.sweep.trial import FAILURES, run_trial

_TALKATIVE = (
    *("lightning.fabric", "lightning.pytorch"),
    "lightning.pytorch.utilities.rank_zero",
)


def run_sweep(
    sweep: Sweep,
    name: str,
    url: str | None = None,
    heartbeat: int = 20,
) -> Path:
    """Runs trials until there are as many as asked for, and writes ``logs/sweeps/NAME/report.md``.

    Args:
        sweep: what its file says.
        name: of the study.
        url: of the storage; an SQLite file beside the report by default.
        heartbeat: seconds between two signs of life.

    Raises:
        ValueError: a storage or a metric that cannot be used.
        SystemExit: an option of the space that the parser refuses; it has printed why.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for logger in _TALKATIVE:  # of every fit they say the same
        logging.getLogger(logger).setLevel(logging.WARNING)
    folder = Path("logs") / "sweeps" / name
    for values in sweep.corners():
        ParsedCLI(sweep.arguments(values, sweep.seeds[0]))
    url = url or f"sqlite:///{(folder / 'study.db').as_posix()}"
    storage = open_storage(url, heartbeat)
    try:
        study = open_study(storage, name, sweep)
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_leftovers(folder, study)
        Worker(
            study,
            sweep.trials,
            lambda trial: run_trial(trial, sweep, folder.as_posix()),
            FAILURES,
            patience=min(1.0, heartbeat / 2),
        ).run()
        shown = make_url(url).render_as_string(hide_password=True)
        text = markdown(study, sweep, shown, folder.as_posix())
    finally:
        storage.remove_session()
        storage.engine.dispose()
    report = folder / "report.md"
    report.write_text(text)
    return report


def _refuse_leftovers(folder: Path, study: optuna.Study) -> None:
    """Raises ValueError where runs lie of trials that the storage does not know."""
    left = [path for path in folder.glob("trial_*") if path.is_dir()]
    numbers = [int(path.name.split("_")[1]) for path in left]
    # Counted after the folders, to which another worker may be adding.
    if numbers and max(numbers) >= len(study.get_trials(deepcopy=False)):
        raise ValueError(
            f"{folder} holds runs of trials that this storage does not have; take another name "
            "with --name, or remove the folder"
        )
