"""A learner's file: read, run on seeded inputs and judged; in the process that calls."""

import builtins
import copy
import inspect
import json
import linecache
import math
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.exercises.compare import Wrong, difference
from course.exercises.source import FAIL, PASS, Exercise, Verdict, refuse, shown_line

# What a check works with, and a learner's code must leave as it is.
_OWNERS = (torch, torch.Tensor, nn, nn.Module, nn.Linear, F, math, json, builtins)


class OutOfTime(BaseException):
    """The time limit, in ``function``; no ``except Exception`` of a learner's catches it."""

    function = ""


def judge(exercise: Exercise, path: Path) -> Verdict:
    """Runs the learner's file and compares it with the project's own."""
    if verdict := refuse(exercise, path):
        return verdict
    code = compile(path.read_text(encoding="utf-8"), str(path), "exec")
    linecache.checkcache(str(path))
    reference = exercise.load()
    module = ModuleType(exercise.stem)
    module.__file__ = str(path)
    mine = Attempt(module, reference, path)
    try:
        with _left_as_it_is():
            sys.modules[module.__name__] = module  # dataclasses and others look there
            with mine.guarded("reading the file"):
                exec(code, vars(module))
            torch.manual_seed(exercise.lesson.step)
            reference.check(mine)
    except Wrong as wrong:
        return Verdict(FAIL, str(wrong), mine.function)
    except OutOfTime as stopped:
        stopped.function = mine.function
        raise
    finally:
        sys.modules.pop(module.__name__, None)
    return Verdict(PASS, "all results are those of the course's own implementation")


@contextmanager
def _left_as_it_is() -> Iterator[None]:
    """Raises Wrong where a function of torch or Python was replaced, and puts it back."""
    before = [(owner, dict(vars(owner))) for owner in _OWNERS]
    replaced: list[str] = []
    try:
        yield
    finally:
        for owner, names in before:
            # A method put into a class hides an inherited one; modules import more of themselves.
            for name in {**names, **vars(owner)} if isinstance(owner, type) else names:
                now = vars(owner).get(name)
                # torch replaces some of its own when it imports the rest of itself.
                theirs = str(getattr(now, "__module__", "")).startswith("torch")
                kept = now is names.get(name) or name == "__warningregistry__"
                if kept or theirs or (name not in names and not callable(now)):
                    continue
                replaced.append(f"{owner.__name__}.{name}")
                if name in names:
                    setattr(owner, name, names[name])
                else:
                    delattr(owner, name)
        if replaced:
            raise Wrong(
                f"the file replaces {replaced[0]}, which the check needs; leave torch and Python "
                "as they are and give your function a name of its own"
            )


class Attempt:
    """The learner's module, as a check calls it.

    Args:
        module: what the learner's file defines.
        reference: the exercise's own module: functions of the same names, and ``MISTAKES``.
        path: the learner's file.

    Attributes:
        function: name of the function that is being checked; empty before the first one.
    """

    def __init__(self, module: ModuleType, reference: ModuleType, path: Path) -> None:
        self._module, self._reference, self._path = module, reference, path
        self.function = ""

    def find(self, name: str) -> Any:
        """What the learner's file defines under a name."""
        self.function = name
        found = vars(self._module).get(name)
        if not callable(found):
            what = "class" if isinstance(getattr(self._reference, name), type) else "function"
            raise Wrong(
                f"{self._path.name} defines no {what} {name}; keep the name that it was handed "
                "out with"
            )
        return found

    def call(self, function: str | Callable[..., Any], *args: Any, shown: str = "") -> Any:
        """The result of a learner's function, by name, or of an object that one returned.

        A generator is run to its end and returned as a list. ``shown`` is what sentences call it.
        """
        shown = shown or shown_call(function, args)
        with self.guarded(shown):
            called = self.find(function) if isinstance(function, str) else function
            result = called(*args)
            return list(result) if inspect.isgenerator(result) else result

    def same(
        self, name: str, *args: Any, expected: Callable[..., Any] | None = None, **tolerance: float
    ) -> Any:
        """Raises Wrong where a function's result is not the expected one, or its input changed.

        Args:
            name: the function; called with ``args``, of which it gets a copy.
            expected: what returns the expected result; the exercise's own function if None.
            tolerance: ``rtol`` and ``atol``.
        """
        ours = getattr(self._reference, name)
        shown = shown_call(name, args)
        given, again = copy.deepcopy(args), copy.deepcopy(args)
        with torch.enable_grad():  # whatever the learner's file switched off
            want = _result(expected or ours, again)
        got = self.call(name, *given, shown=shown)
        self._refuse_changes(name, ours, given, args)
        if found := difference(got, want, shown, **tolerance):
            usual = getattr(self._reference, "MISTAKES", {}).get(name, {})
            mistakes = {
                sentence: _result(mistake, copy.deepcopy(args))
                for sentence, mistake in usual.items()
            }
            raise Wrong(found + _diagnosis(got, mistakes, tolerance))
        if isinstance(want, Tensor):
            names = inspect.signature(ours).parameters
            for parameter, one, other in zip(names, given, again, strict=False):
                if isinstance(other, Tensor) and other.requires_grad:
                    what = f"the gradient of {shown} with respect to {parameter}"
                    self.equal(_gradient(got, one), _gradient(want, other), what, None, **tolerance)
        return got

    def equal(
        self,
        got: Any,
        want: Any,
        what: str,
        mistakes: dict[str, Any] | None = None,
        **tolerance: float,
    ) -> None:
        """Raises Wrong with the first difference.

        Args:
            got, want, what, tolerance: see :func:`~course.exercises.compare.difference`.
            mistakes: results of what is usually done wrong, by the sentence that says so.
        """
        if found := difference(got, want, what, **tolerance):
            raise Wrong(found + _diagnosis(got, mistakes or {}, tolerance))

    def take_weights(self, got: Any, want: nn.Module, what: str) -> None:
        """Loads the weights of ``want``; raises Wrong where names or shapes differ."""
        if isinstance(got, nn.Module):
            self.equal(_zeros(got), _zeros(want), what)
            got.load_state_dict(want.state_dict())
        else:
            self.equal(got, want, what)

    def _refuse_changes(self, name: str, ours: Any, given: tuple, args: tuple) -> None:
        names = list(inspect.signature(ours).parameters)
        for parameter, after, before in zip(names, given, args, strict=False):
            if isinstance(before, Tensor | list | dict) and difference(after, before, ""):
                raise Wrong(
                    f"{name} changes its argument {parameter} in place; leave it as it is and "
                    f"compute a new {'tensor' if isinstance(before, Tensor) else 'one'}"
                )

    @contextmanager
    def guarded(self, doing: str) -> Iterator[None]:
        """Turns what a learner's code raises into a sentence with the learner's line."""
        try:
            yield
        except (Wrong, OutOfTime):
            raise
        except SystemExit as error:
            raise Wrong(
                f"{doing} ends the program with sys.exit or quit{self.line(error)}; return a "
                "value instead"
            ) from error
        except RecursionError as error:
            raise Wrong(
                f"{doing} calls itself without end{self.line(error)}; is there a case that "
                "returns at once?"
            ) from error
        except NotImplementedError as error:
            if str(error):
                raise Wrong(self._raised(doing, error)) from error
            raise Wrong(f"{doing} is not written yet{self.line(error)}") from error
        except BaseException as error:
            raise Wrong(self._raised(doing, error)) from error

    def _raised(self, doing: str, error: BaseException) -> str:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            return f"{doing} needs more memory than an exercise may have{self.line(error)}"
        said = " ".join(str(error).split())
        said = f": {said[:200]}" if said else ""
        return f"{doing} raises {type(error).__name__}{said}{self.line(error)}"

    def line(self, error: BaseException) -> str:
        """The last line of the learner's file that led to an error."""
        return line_in(self._path, error)


def line_in(path: Path, error: BaseException) -> str:
    """`` (line 7: code)``: the last line of a file that led to an error; empty if none did.

    What caused the error comes first.
    """
    if error.__cause__ and (line := line_in(path, error.__cause__)):
        return line
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == str(path):
            return f" (line {frame.lineno}: {shown_line(frame.line or '')})"
    return ""


def _diagnosis(got: Any, mistakes: dict[str, Any], tolerance: dict[str, float]) -> str:
    """What is usually done wrong where this comes out, if that is known."""
    for sentence, result in mistakes.items():
        if difference(got, result, "", **tolerance) is None:
            return f"; {sentence}"
    return ""


def _zeros(net: nn.Module) -> nn.Module:
    """A copy with all numbers 0."""
    net = copy.deepcopy(net)
    net.load_state_dict({name: torch.zeros_like(v) for name, v in net.state_dict().items()})
    return net


def _gradient(result: Tensor, by: Tensor) -> Tensor:
    """Of a weighted sum of the result, so that values of a fixed sum have one, too."""
    weights = torch.linspace(0.5, 1.5, result.numel()).view_as(result)
    found = torch.autograd.grad((result * weights).sum(), by, retain_graph=True, allow_unused=True)[
        0
    ]
    return torch.zeros_like(by) if found is None else found


def _result(function: Callable[..., Any], args: tuple) -> Any:
    result = function(*args)
    return list(result) if inspect.isgenerator(result) else result


def shown_call(function: str | Callable[..., Any], args: tuple) -> str:
    """A call as a sentence shows it: ``standardize(tensor (4, 3))``."""
    name = function if isinstance(function, str) else getattr(function, "__name__", "")
    name = name or type(function).__name__
    return f"{name}({', '.join(map(_shown, args))})"


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        if value.numel() <= 4 and value.ndim == 1 and value.device.type != "meta":
            return f"[{', '.join(f'{number:.4g}' for number in value.tolist())}]"
        on = f" on {value.device}" if value.device.type != "cpu" else ""
        return f"tensor {tuple(value.shape)}{on}"
    if isinstance(value, nn.Module):
        return type(value).__name__
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, dict):
        return f"a dictionary of {', '.join(value)}"
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    shown = f"{value:.4g}" if isinstance(value, float) else repr(value)
    if isinstance(value, list) and len(shown) > 40:
        return f"[{value[0]!r}, {value[1]!r}, ...]"
    return shown
