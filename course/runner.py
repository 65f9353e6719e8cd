"""Runs a lesson and holds its outcome against what is expected."""

import contextlib
import importlib
import io
import json
import logging
import shutil
import textwrap
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Picture
from rich.console import Console
from rich.table import Table
from rich.text import Text

from course.catalogue import Figure, Lesson, show
from course.kernels import environment
from course.progress import RESULT
from training.cli import TrainCLI
from training.quiet import quiet

CONFIGS = Path(__file__).parents[1] / "configs"
# What stands for the course's value where it has none.
SILENT = ("not asked", "not measured", "not printed")


class Skipped(Exception):
    """What a lesson, or one of its figures, needs is not on this machine; says what."""


class LessonCLI(TrainCLI):
    """``gpu-learning fit`` whose export callbacks write to the lessons' own models.

    Args:
        args: subcommand and options, as they would be typed.
        models: folder that takes the place of ``models/``, which is the user's.
    """

    def __init__(self, args: Sequence[str], models: Path) -> None:
        self._models = models
        super().__init__(args)

    def before_instantiate_classes(self) -> None:
        super().before_instantiate_classes()
        for callback in self.config[self._name].trainer.callbacks or []:
            if "models" in (callback.get("init_args") or {}):
                callback.init_args["models"] = str(self._models)


@dataclass
class Run:
    """What a lesson's check works with.

    Args:
        folder: where pictures, logs and checkpoints of the lesson go.
        reduced: take the sizes that ``lessons.yaml`` describes under ``reduced``.
    """

    folder: Path
    reduced: bool = False
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def models(self) -> Path:
        """Where lessons leave artifacts: ``logs/lessons/models``."""
        return self.folder.parent / "models"

    def fit(self, config: str, *options: str, tag: str = "run") -> TrainCLI:
        """``gpu-learning fit -c configs/<config>.yaml <options>``, logging to ``folder/tag``."""
        shown = ("gpu-learning fit -c", f"configs/{config}.yaml", *options)
        print(" ".join(shown), flush=True)
        log = {"save_dir": self.folder.parent, "name": self.folder.name, "version": tag}
        if not any(option.startswith("--trainer.logger") for option in options):
            options += tuple(f"--trainer.logger.init_args.{key}={log[key]}" for key in log)
        return LessonCLI(["fit", "-c", str(CONFIGS / f"{config}.yaml"), *options], self.models)

    def keep(self, picture: Picture, name: str) -> None:
        """Writes ``name.png`` into the lesson's folder."""
        path = self.folder / f"{name}.png"
        picture.savefig(path, dpi=100)
        print(f"picture: {path}", flush=True)

    def skip(self, figure: str, reason: str) -> None:
        """This machine cannot measure one figure of the lesson."""
        self.skipped[figure] = reason


@dataclass(frozen=True)
class Measured:
    """One figure: the course's, ours (None where there is none) and how they compare."""

    figure: Figure
    wanted: str
    ours: Any
    status: str


@dataclass(frozen=True)
class Result:
    """Outcome of a lesson: ``pass``, ``fail``, ``skipped`` or ``not built``."""

    lesson: Lesson
    status: str
    seconds: float
    reason: str = ""
    reduced: str = ""
    figures: tuple[Measured, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "step": self.lesson.step,
            "name": self.lesson.name,
            "title": self.lesson.title,
            "insight": self.lesson.insight,
            "shown_by": list(self.lesson.shown_by),
            "status": self.status,
            "reason": self.reason,
            "reduced": self.reduced,
            "seconds": round(self.seconds, 2),
            "figures": [
                {
                    "name": one.figure.name,
                    "course": one.figure.course,
                    "expected": one.wanted,
                    "ours": one.ours,
                    "status": one.status,
                }
                for one in self.figures
            ],
        }


def run_lesson(lesson: Lesson, root: Path, reduced: bool, silent: bool) -> Result:
    """Runs one lesson in ``root/<slug>``, which is emptied before, and writes its result there.

    A lesson passes when its check ran to the end and every figure that ``lessons.yaml`` expects
    was measured and is as expected; figures that this machine cannot give need a reason.

    Args:
        lesson: which one.
        root: ``logs/lessons``.
        reduced: see :class:`Run`.
        silent: write what the training says to ``output.log`` in the lesson's folder instead.
    """
    if not lesson.check:
        return Result(lesson, "not built", 0.0, "its parts do not exist yet")
    folder = root / lesson.slug
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    result = _run(lesson, Run(folder, reduced), silent)
    (folder / RESULT).write_text(json.dumps(result.as_json(), indent=1) + "\n")
    return result


def _run(lesson: Lesson, run: Run, silent: bool) -> Result:
    folder = run.folder
    module, _, function = lesson.check.partition(":")
    quiet()
    began = time.perf_counter()
    values, status, reason = {}, "", ""
    try:
        environment.choose(lesson.needs)
        with _silenced(folder / "output.log") if silent else contextlib.nullcontext():
            values = getattr(importlib.import_module(module), function)(run)
    except (Skipped, environment.Unavailable) as stop:
        status, reason = "skipped", str(stop)
    except Exception as error:
        if not silent:
            raise
        (folder / "error.log").write_text(traceback.format_exc())
        status, reason = "fail", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    seconds = time.perf_counter() - began
    if status:
        return Result(lesson, status, seconds, reason)
    figures = tuple(_measure(figure, values, run) for figure in lesson.figures)
    return Result(
        lesson,
        _verdict(figures),
        seconds,
        "; ".join(f"{name}: {why}" for name, why in run.skipped.items()),
        lesson.reduced if run.reduced else "",
        figures,
    )


def _measure(figure: Figure, values: dict[str, Any], run: Run) -> Measured:
    rule = figure.rule_for(run.reduced)
    if figure.name in values:
        ours = values[figure.name]
        status = "pass" if rule.holds(ours) else "fail"
    else:
        ours, status = None, "skipped" if figure.name in run.skipped else "fail"
    return Measured(figure, str(rule), ours, status)


def _verdict(figures: tuple[Measured, ...]) -> str:
    found = {one.status for one in figures}
    if "fail" in found or not found:
        return "fail"
    return "pass" if "pass" in found else "skipped"


@contextlib.contextmanager
def _silenced(path: Path) -> Iterator[None]:
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with path.open("w") as log, contextlib.redirect_stdout(log), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def lines(result: Result, width: int = 100) -> list[str]:
    """A result as lines of at most ``width`` columns: its outcome, its figures, then the idea."""
    outcome = result.status + (f" in {result.seconds:.1f} s" if result.figures else "")
    why = f" ({result.reason})" if result.reason else ""
    head = f"{result.lesson.step:>4}  {result.lesson.title}: {outcome}{why}"
    if result.reduced:
        head += f", reduced: {result.reduced}"
    rows = [head]
    if result.figures:
        rows += _table(result.figures, width)
    if result.figures and result.lesson.insight:
        rows.append(f"{'':6}The idea: {result.lesson.insight}")
        rows.append(f"{'':6}Shown by: {'; '.join(result.lesson.shown_by)}")
    return [line for row in rows for line in textwrap.wrap(row, width, subsequent_indent=" " * 8)]


def _table(figures: Sequence[Measured], width: int) -> list[str]:
    """One row per figure. What the course says has a column where it says anything."""
    quotes = any(one.figure.course not in SILENT for one in figures)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("figure", *(["the course"] if quotes else []), "expected", "ours", ""):
        table.add_column(name, overflow="fold")
    for one in figures:
        ours = "-" if one.ours is None else show(one.ours)
        if ours == one.wanted and len(ours) > 24:
            ours = "as expected"
        course = [one.figure.course] if quotes else []
        # As Text: a list in brackets is no markup.
        table.add_row(*map(Text, (one.figure.name, *course, one.wanted, ours, one.status)))
    written = io.StringIO()
    Console(file=written, width=width, color_system=None, force_jupyter=False).print(table)
    return [line.rstrip() for line in written.getvalue().splitlines()]
