"""The lessons and what is expected of them, from ``lessons.yaml``."""

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

PATH = Path(__file__).with_name("lessons.yaml")


@dataclass(frozen=True)
class Rule:
    """What a measured value must be: near ``equal``, or within two bounds."""

    equal: Any = None
    within: float = 0.0
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if self.equal is None and self.at_least is None and self.at_most is None:
            raise ValueError("a figure of lessons.yaml needs equal, at_least or at_most")

    def holds(self, value: Any) -> bool:
        if self.equal is not None:
            return _near(value, self.equal, self.within)
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    def __str__(self) -> str:
        if self.equal is not None:
            return f"{show(self.equal)} ± {self.within:g}" if self.within else show(self.equal)
        bounds = ((">=", self.at_least), ("<=", self.at_most))
        return " and ".join(f"{sign} {show(bound)}" for sign, bound in bounds if bound is not None)


@dataclass(frozen=True)
class Figure:
    """One number of a lesson: its name, the course's value in words, and what ours must be."""

    name: str
    course: str
    rule: Rule
    reduced_rule: Rule | None = None

    def rule_for(self, reduced: bool) -> Rule:
        return self.reduced_rule if reduced and self.reduced_rule else self.rule


@dataclass(frozen=True)
class Lesson:
    """One step of the course; ``check`` is ``module:function`` and empty while it is not built.

    ``insight`` is the idea of the step; the figures named in ``shown_by`` demonstrate it.
    ``needs`` names what of :data:`course.kernels.environment.PACKAGES` its kernels are written in.
    ``part`` names the part of the course that begins with the step, and is empty within one.
    ``minutes`` is what a learner should plan for the step with its exercise, ``able_to`` what they
    can do afterwards, as the rest of a sentence.
    """

    step: int
    name: str
    title: str
    sees: str
    part: str = ""
    minutes: int = 0
    able_to: str = ""
    check: str = ""
    configs: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    seconds: int = 0
    reduced: str = ""
    insight: str = ""
    shown_by: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = field(default=())

    @property
    def slug(self) -> str:
        return f"{self.step:02}-{self.name}"


def read(path: Path = PATH) -> list[Lesson]:
    """All lessons in the course's order.

    Raises:
        ValueError: an entry without figures although it has a check, or a step that comes twice.
    """
    lessons = [_lesson(entry) for entry in yaml.safe_load(path.read_text())]
    steps = [lesson.step for lesson in lessons]
    if len(set(steps)) != len(steps):
        raise ValueError(f"{path} has a step twice: {steps}")
    return lessons


def _lesson(entry: dict[str, Any]) -> Lesson:
    figures = tuple(
        Figure(
            name=figure.pop("name"),
            course=str(figure.pop("course")),
            reduced_rule=Rule(**reduced) if (reduced := figure.pop("reduced", None)) else None,
            rule=Rule(**figure),
        )
        for figure in entry.pop("figures", [])
    )
    configs, needs, shown_by = (
        tuple(entry.pop(name, ())) for name in ("configs", "needs", "shown_by")
    )
    lesson = Lesson(**entry, configs=configs, needs=needs, shown_by=shown_by, figures=figures)
    if lesson.check and not figures:
        raise ValueError(f"lesson {lesson.step} has a check and expects nothing of it")
    if unknown := set(shown_by) - {figure.name for figure in figures}:
        raise ValueError(f"lesson {lesson.step} has no figures {sorted(unknown)} to show")
    if bool(lesson.insight) != bool(shown_by):
        raise ValueError(f"lesson {lesson.step} needs both insight and shown_by, or neither")
    return lesson


def find(lessons: list[Lesson], asked: str) -> Lesson:
    """The lesson with this number or name.

    Raises:
        ValueError: there is none; the nearest is named, or the page of a step without one.
    """
    names = {str(lesson.step): lesson for lesson in lessons}
    names |= {lesson.name: lesson for lesson in lessons} | {x.slug: x for x in lessons}
    if asked.lstrip("0") in names or asked in names:
        return names.get(asked) or names[asked.lstrip("0")]
    first = lessons[0].step
    if asked.isdigit() and 0 < int(asked) < first:
        raise ValueError(
            f"steps 1 to {first - 1} set up the machine and have no lesson: read "
            f"docs/course/01-gpu-machine.md, then gpu-learning lessons run {first}"
        )
    if asked.isdigit():
        near = min(lessons, key=lambda lesson: abs(lesson.step - int(asked)))
        hint = f"the nearest is {near.step} ({near.name})"
    elif close := get_close_matches(asked, names, n=1):
        hint = f"did you mean {names[close[0]].step} ({names[close[0]].name})?"
    else:
        hint = "gpu-learning lessons lists them"
    raise ValueError(f"there is no lesson {asked!r}; {hint}")


def show(value: Any, thousands: str = ",") -> str:
    """A value as short as it can be read."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        # A comma within a number would look like one more number.
        return f"[{', '.join(show(one, thousands='') for one in value)}]"
    if isinstance(value, int):
        return f"{value:{thousands}}"
    return f"{value:.4g}"


def _near(value: Any, expected: Any, within: float) -> bool:
    if isinstance(expected, list):
        return len(value) == len(expected) and all(
            _near(one, other, within) for one, other in zip(value, expected, strict=True)
        )
    if isinstance(expected, str):
        return value == expected
    return abs(value - expected) <= within
