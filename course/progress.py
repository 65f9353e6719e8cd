"""What a learner has done: lessons that ran, hints that were shown, and checks that passed."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course.catalogue import Lesson
from course.exercises.source import Exercise

FILE = ".progress.json"
RESULT = "result.json"  # of a lesson's last run, in its folder under logs/lessons
NOT_BEGUN, STARTED, DONE, CHANGED = "not begun", "started", "done", "changed since it passed"


@dataclass
class Progress:
    """The record of one folder, kept in its ``.progress.json``.

    Args:
        folder: the learner's folder.
        hints: numbers of the hints that were shown, by exercise.
        passed: sha256 of the file that passed last, by exercise.
        wrong: name of the function that the last check found wrong first, by exercise.
    """

    folder: Path
    hints: dict[str, list[int]] = field(default_factory=dict)
    passed: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Progress":
        """Raises ValueError where the record is damaged."""
        path = folder / FILE
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            hints = {str(name): _numbers(shown) for name, shown in entry["hints"].items()}
            passed = {str(name): str(digest) for name, digest in entry["passed"].items()}
            found = entry.get("wrong", {})  # records from before have none
            wrong = {str(name): str(function) for name, function in found.items()}
        except FileNotFoundError:
            return cls(folder)
        except OSError as error:
            raise ValueError(
                f"{path} cannot be read ({error.strerror}); name another folder with --folder"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"{path} is damaged; delete it to begin a new record, your exercises stay"
            ) from error
        return cls(folder, hints, passed, wrong)

    def write(self) -> None:
        """The old record or the new one is whole at every moment.

        Raises:
            ValueError: the folder cannot be written to.
        """
        path = self.folder / FILE
        unfinished = path.with_name(f"{FILE}.{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with unfinished.open("w", encoding="utf-8") as file:
                entry = {"hints": self.hints, "passed": self.passed, "wrong": self.wrong}
                json.dump(entry, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        except OSError as error:
            raise ValueError(
                f"{path} cannot be written ({error.strerror}); allow writing there, or name "
                "another folder with --folder"
            ) from error

    def note(self, exercise: Exercise, digest: str) -> None:
        """A file with this digest passed."""
        self.passed[exercise.name] = digest
        self.wrong.pop(exercise.name, None)
        self.write()

    def note_wrong(self, exercise: Exercise, function: str) -> None:
        """A check found this function wrong, before any other; a syntax error has none."""
        if function and function != self.wrong.get(exercise.name):
            self.wrong[exercise.name] = function
            self.write()

    def state(self, exercise: Exercise) -> str:
        """``not begun``, ``started``, ``done`` or ``changed since it passed``."""
        if not (self.folder / exercise.file).is_file():
            return NOT_BEGUN
        if exercise.name not in self.passed:
            return STARTED
        return DONE if self.passed[exercise.name] == self.digest(exercise) else CHANGED

    def digest(self, exercise: Exercise) -> str:
        """Of the learner's file; empty where there is none."""
        path = self.folder / exercise.file
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _numbers(shown: Any) -> list[int]:
    """Of a record; one from before has how many hints were shown, in their order."""
    return list(range(1, shown + 1)) if isinstance(shown, int) else [int(one) for one in shown]


def ran(lesson: Lesson, root: Path) -> bool:
    """Whether the last run of a lesson, or its verification, passed.

    Args:
        lesson: which one.
        root: ``logs/lessons``.
    """
    try:
        return json.loads((root / lesson.slug / RESULT).read_text())["status"] == "pass"
    except (OSError, ValueError, KeyError, TypeError):  # none, or one that a kill cut off
        return False


def marks(lessons: Iterable[Lesson], folder: Path, root: Path) -> dict[int, str]:
    """By step, ``done`` or ``changed`` for an exercise, ``run`` for a lesson; others are missing.

    Args:
        lessons: which ones.
        folder: the learner's folder; a damaged record in it counts as none.
        root: ``logs/lessons``.
    """
    try:
        progress = Progress.read(folder)
    except ValueError:
        progress = Progress(folder)
    found = {}
    for lesson in lessons:
        state = progress.state(Exercise(lesson))
        if state in (DONE, CHANGED):  # since it passed
            found[lesson.step] = "done" if state == DONE else "changed"
        elif ran(lesson, root):
            found[lesson.step] = "run"
    return found


def shown(state: str, ran: bool) -> str:
    """``not begun``, ``run, exercise open``, ``run, exercise started``, ``done`` and so on."""
    if not ran or state in (DONE, CHANGED):
        return state
    return f"run, exercise {'open' if state == NOT_BEGUN else state}"
