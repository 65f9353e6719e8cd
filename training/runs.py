"""Which run of an experiment is meant: its folder, its checkpoints, the best and the last."""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch.cli import instantiate_class

from training.checkpoint_names import check_source

FIT = "gpu-learning fit"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file says about itself.

    ``comparable`` is the same for checkpoints whose scores can be compared: monitor, mode, class
    of the model and of the data. ``score`` is None where nothing was monitored. ``origin`` is the
    file that imported weights come from.
    """

    path: Path
    epochs: int
    step: int
    score: float | None
    comparable: tuple[Any, ...]
    origin: str | None = None

    @property
    def scored(self) -> str:
        """``val/acc 0.9917, ``, or nothing."""
        return "" if self.score is None else f"{self.comparable[0]} {self.score:.4f}, "

    def __str__(self) -> str:
        written = datetime.fromtimestamp(self.path.stat().st_mtime)
        reached = f"{self.scored}epoch {self.epochs}, step {self.step}"
        if self.origin is not None:
            reached = f"imported from {self.origin}"
        return f"{self.path} ({reached}, {written:%Y-%m-%d %H:%M})"


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads what is not a tensor; raises what ``torch.load`` raises for a damaged file."""
    content = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    # Of several checkpoint callbacks the one that wrote this file under its score.
    states = [
        state
        for state in content.get("callbacks", {}).values()
        if isinstance(state, dict) and Path(state.get("best_model_path") or "").name == path.name
    ]
    state = states[0] if states else {}
    score = state.get("best_model_score")
    model, data = (
        content.get(key, {}).get("_class_path")
        for key in ("hyper_parameters", "datamodule_hyper_parameters")
    )
    return Checkpoint(
        path,
        content["epoch"] + 1,
        content["global_step"],
        None if score is None else float(score),
        (state.get("monitor"), state.get("mode"), model, data),
        content.get("imported", {}).get("path"),
    )


def loggers(trainer: Any) -> list[Any]:
    """Configurations of the Trainer's loggers; what ``true`` stands for is written out."""
    if trainer.logger is False:
        return []
    if trainer.logger in (None, True):
        folder = str(trainer.default_root_dir or ".")
        trainer.logger = [
            Namespace(
                class_path="lightning.pytorch.loggers.TensorBoardLogger",
                init_args=Namespace(save_dir=folder, name="lightning_logs"),
            )
        ]
    return trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]


def folder_of(logger: Any, trainer: Any) -> Path:
    """Folder of the runs of a logger's configuration, as ModelCheckpoint composes it."""
    built = instantiate_class((), logger.as_dict())
    return Path(built.save_dir or trainer.default_root_dir or ".") / str(built.name)


def experiment_folder(trainer: Any) -> Path:
    """Folder of the experiment's runs, ``logs/<name>``: that of the first logger."""
    if not (configured := loggers(trainer)):
        raise ValueError(
            "--ckpt_path last and best are looked up in the logger's folder, and the logger is "
            "off; give the file's path instead"
        )
    return folder_of(configured[0], trainer)


def last_checkpoint(folder: Path, fit: str = FIT) -> tuple[Path, str]:
    """The newest run's ``last.ckpt`` under an experiment's folder, and a sentence about it.

    ``fit`` is the command that an error names where there is none.
    """
    found = _by_date(folder, "last", fit)
    return found[-1], _said(found[-1])


def requeued_job() -> str | None:
    """The SLURM job of this process, if SLURM has started it before."""
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", 0))
    return os.environ["SLURM_JOB_ID"] if restarts else None


def requeued_checkpoint(folder: Path, job: str) -> Path | None:
    """The newest ``last.ckpt`` under an experiment's folder that the SLURM job ``job`` wrote."""
    for path in reversed(_sorted_by_date(folder, "last")):
        try:
            content = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
        except Exception:  # damaged, or a folder of shards: no file that BestAndLast wrote
            continue
        if content.get("callbacks", {}).get("BestAndLast", {}).get("slurm_job") == job:
            return path
    return None


def best_checkpoint(
    folder: Path, model: str | None = None, data: str | None = None, fit: str = FIT
) -> tuple[Path, str]:
    """The best of the experiment's ``best.ckpt``, and a sentence about it.

    Scores are compared with those of the newest run, where monitor, mode and classes are the same;
    of equals, and where nothing was monitored, it is the newest.

    Args:
        folder: of the experiment, ``logs/<name>``.
        model: class path; runs of others do not count, unless there is none of it.
        data: class path of the data module, likewise.
        fit: the command that an error names where there is no checkpoint.
    """
    found = _by_date(folder, "best", fit)
    runs = [_read_or_none(path) for path in found]
    known = [run for run in runs if run is not None]
    fitting = [
        run
        for run in known
        if model in (None, run.comparable[2]) and data in (None, run.comparable[3])
    ]
    left_out = _left_out([path for path, run in zip(found, runs, strict=True) if run is None])
    if not fitting:
        return found[-1], str(found[-1])
    newest = fitting[-1]
    rivals = [run for run in fitting if run.comparable == newest.comparable]
    scores = [run.score for run in rivals if run.score is not None]
    if newest.comparable[1] not in ("min", "max") or not scores:
        return newest.path, f"{newest}{left_out}"
    wanted = max(scores) if newest.comparable[1] == "max" else min(scores)
    best = [run for run in rivals if run.score == wanted][-1]
    said = str(best)
    if best is not newest:
        said += f", the best of {len(rivals)} runs; the newest is {newest}"
    return best.path, said + left_out


def _left_out(paths: list[Path]) -> str:
    """Which files had no score to compare, and why."""
    reasons = {True: "which is cut off or not a checkpoint", False: "whose shards hold no score"}
    return "".join(f"; without {path}, {reasons[path.is_file()]}" for path in paths)


def _read_or_none(path: Path) -> Checkpoint | None:
    """A damaged file is reported when it is the one to be used, and is no rival to another."""
    try:
        return read_checkpoint(path)
    except Exception:
        return None


def _said(path: Path) -> str:
    return str(_read_or_none(path) or path)


def _by_date(folder: Path, name: str, fit: str) -> list[Path]:
    found = _sorted_by_date(folder, name)
    if not found:
        others = _sorted_by_date(folder, "*")
        remedy = f"name a file, such as {others[-1]}" if others else f"train first: {fit}"
        raise ValueError(f"there is no {name}.ckpt under {folder}; {remedy}")
    return found


def _sorted_by_date(folder: Path, name: str) -> list[Path]:
    return sorted(folder.glob(f"*/checkpoints/{name}.ckpt"), key=lambda p: p.stat().st_mtime)


def find_checkpoint(path: Path) -> tuple[Path, str]:
    """A checkpoint from its path, from its run's folder or from the experiment's, and a sentence.

    Raises:
        ValueError: there is none.
    """
    check_source(path)
    if path.is_file():
        return path, _said(path)
    for best in (path / "best.ckpt", path / "checkpoints" / "best.ckpt"):
        if best.is_file():
            return best, _said(best)
    return best_checkpoint(path)
