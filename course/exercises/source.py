"""An exercise's source file: the learner's file, the solution and the hints are cut from it."""

import ast
import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

from course.catalogue import Lesson

FOLDER = "exercises"  # the learner's, in the current folder
PASS, FAIL, NOT_STARTED = "pass", "fail", "not started"
# What nbgrader leaves in a hole.
STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")
_SOLUTION = ("# BEGIN SOLUTION", "# END SOLUTION")
_HIDDEN = ("# BEGIN HIDDEN TESTS", "# END HIDDEN TESTS")


@dataclass(frozen=True)
class Exercise:
    """The exercise of one lesson."""

    lesson: Lesson

    @property
    def name(self) -> str:
        return self.lesson.name

    @property
    def stem(self) -> str:
        return self.lesson.slug.replace("-", "_")

    @property
    def file(self) -> str:
        """Name of the learner's file."""
        return f"{self.stem}.py"

    @cached_property
    def source(self) -> str:
        return Path(__file__).with_name(f"step{self.file}").read_text(encoding="utf-8")

    @cached_property
    def starter(self) -> str:
        """The file with holes."""
        return _text(_cut(self.source.splitlines(), holes=True))

    @cached_property
    def solution(self) -> str:
        """The file without holes."""
        return _text(_cut(self.source.splitlines(), holes=False))

    @cached_property
    def hints(self) -> tuple[str, ...]:
        """Read without importing the exercise, which needs torch."""
        return self._constants["HINTS"]

    def hints_about(self, function: str) -> list[int]:
        """Numbers, from 1, of the hints about a function; none for one that no hint names."""
        about = self._constants.get("ABOUT", ())
        return [number for number, names in enumerate(about, 1) if function in names.split()]

    @cached_property
    def _constants(self) -> dict[str, tuple[str, ...]]:
        found = {}
        for node in ast.parse(self.source).body:
            if isinstance(node, ast.Assign):
                name = ast.unparse(node.targets[0])
                if name in ("ABOUT", "HINTS"):
                    found[name] = ast.literal_eval(node.value)
        return found

    def load(self) -> ModuleType:
        """The module itself, with solution, ``MISTAKES`` and ``check``."""
        return importlib.import_module(f"course.exercises.step{self.stem}")


@dataclass(frozen=True)
class Verdict:
    """``pass``, ``fail`` or ``not started``, the sentence that says why, and the function at
    fault, if it is known."""

    status: str
    sentence: str
    function: str = ""


def refuse(exercise: Exercise, path: Path) -> Verdict | None:
    """The verdict on a learner's file that need not be run; None where it must be."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        compile(text, str(path), "exec")  # finds a return outside of a function, for example
    except FileNotFoundError:
        option = "" if str(path.parent) == FOLDER else f" --folder {path.parent}"
        start = f"gpu-learning lessons start {exercise.lesson.step}{option}"
        here = "" if path.parent.is_dir() else f" (the current folder is {Path.cwd()})"
        return Verdict(NOT_STARTED, f"{path} is not there{here}; {start} writes it")
    except UnicodeDecodeError:
        return Verdict(FAIL, f"{path} is not UTF-8 text; save it as such")
    except OSError as error:
        return Verdict(FAIL, f"{path} cannot be read ({error.strerror})")
    except SyntaxError as error:
        shown = f": {shown_line(error.text)}" if error.text and error.text.strip() else ""
        where = f"line {error.lineno}{shown}"
        return Verdict(FAIL, f"{path.name} is not valid Python: {error.msg} ({where})")
    except (ValueError, RecursionError, MemoryError) as error:
        return Verdict(FAIL, f"{path.name} is not valid Python: {error}")
    if ast.dump(tree) == ast.dump(ast.parse(exercise.starter)):
        sentence = f"{path.name} is as it was handed out; write your code at YOUR CODE HERE"
        return Verdict(NOT_STARTED, sentence)
    return None


def _cut(lines: Iterable[str], holes: bool) -> Iterator[str]:
    inside: tuple[str, str] | None = None
    for line in lines:
        marker = line.strip()
        if inside is None and marker in (_SOLUTION[0], _HIDDEN[0]):
            inside = _SOLUTION if marker == _SOLUTION[0] else _HIDDEN
            if holes and inside is _SOLUTION:
                indent = line[: line.index("#")]
                yield from (indent + part for part in STUB)
        elif inside is not None and marker == inside[1]:
            inside = None
        elif inside is None or (inside is _SOLUTION and not holes):
            assert marker not in (*_SOLUTION, *_HIDDEN), f"a marker out of order: {marker}"
            yield line
    assert inside is None, f"there is no {inside}"


def _text(lines: Iterable[str]) -> str:
    """Lines as a file: at most two empty lines in a row, none at the end."""
    text = "\n".join(lines).strip() + "\n"
    while "\n\n\n\n" in text:
        text = text.replace("\n\n\n\n", "\n\n\n")
    return text


def shown_line(code: str) -> str:
    """A line of a learner's file as a sentence shows it; where it is long, its beginning."""
    code = code.strip()
    return code if len(code) <= 80 else f"{code[:77]}..."
