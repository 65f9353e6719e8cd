"""Loggers in the folder of a run that is there already: what was logged stays."""

import csv
import os
import shutil
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from training.runs import folder_of, loggers

_EVENTS = f"events.out.tfevents.*.{os.getpid()}.*"  # of this process


class NewLogs:
    """What the loggers add from now on to the folders of a run, which may be there already."""

    def __init__(self, trainer: pl.Trainer) -> None:
        kinds = (TensorBoardLogger, CSVLogger)
        loggers = [one for one in trainer.loggers if isinstance(one, kinds)]
        self._runs = [Path(one.log_dir) for one in loggers] if trainer.is_global_zero else []
        self._before = {
            path
            for run in self._runs
            for path in (run, *run.parents, *run.rglob(_EVENTS))
            if path.exists()
        }

    def remove(self) -> None:
        """Removes event files and folders that were not there before."""
        for run in self._runs:
            if run not in self._before:
                shutil.rmtree(run, ignore_errors=True)
            for path in set(run.rglob(_EVENTS)) - self._before:
                path.unlink(missing_ok=True)
            for folder in run.parents:
                if folder not in self._before:
                    with suppress(OSError):  # another run has come into it
                        folder.rmdir()


def log_into_run(trainer: Any, run: Path) -> bool:
    """Sets the version of the loggers in the configuration ``trainer`` to that of ``run``.

    Only those that append to what is there; another one starts a run of its own, as does one with
    a version of its own.

    Returns:
        Whether one does.
    """
    joined = False
    for logger in loggers(trainer):
        module, _, name = logger.class_path.rpartition(".")
        kind = getattr(import_module(module), name)
        appends = issubclass(kind, (TensorBoardLogger, CSVLogger))
        if not appends or not (folder_of(logger, trainer) / run.name).is_dir():
            continue
        if logger.init_args.get("version") is None:
            logger.init_args["version"] = run.name
            joined = True
    return joined


@rank_zero_only
def keep_history(trainer: pl.Trainer) -> None:
    """Lets a CSVLogger append to its ``metrics.csv``, which it deletes when it opens its folder."""
    for logger in trainer.loggers:
        path = Path(logger.log_dir or ".") / "metrics.csv"
        if not isinstance(logger, CSVLogger) or not path.is_file():
            continue
        kept = path.replace(path.with_suffix(".csv.kept"))
        writer: Any = logger.experiment
        kept.replace(path)
        with path.open(newline="") as file:
            writer.metrics_keys = next(csv.reader(file), [])


def refuse_taken_folder(trainer: Any, resumed: Path | str | None) -> None:
    """Refuses a version whose folder holds the checkpoints of another run than the resumed one.

    Raises:
        ValueError: names the folder; or the version is not the name of a folder, in which ``last``
            and ``best`` would not be found.
    """
    for logger in loggers(trainer)[:1]:  # the first one decides where checkpoints are written
        version = logger.init_args.get("version")
        if version is None:
            continue
        name = version if isinstance(version, str) else f"version_{version}"
        if not name or Path(name).name != name:
            raise ValueError(
                f"the logger's version {name!r} cannot name a run's folder; take a name without "
                "slashes, such as --trainer.logger.version small_lr"
            )
        run = folder_of(logger, trainer) / name
        if resumed is not None and run.resolve() in Path(resumed).resolve().parents:
            continue
        if any((run / "checkpoints").glob("*.ckpt")):
            raise ValueError(
                f"{run} holds the checkpoints of another run; resume it with --ckpt_path, or "
                "leave the logger's version out, or name another one"
            )
