"""``gpu-learning lessons``: the course, step by step, with its figures and its exercises."""

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from course import pages
from course.catalogue import Lesson, find, read
from course.exercises.source import FOLDER, Exercise
from course.kernels import environment
from course.progress import DONE, Progress, ran, shown
from scripts import lesson_exercises, lesson_notebooks
from scripts.parser import Parser

LONG = 20  # seconds of a lesson that says beforehand how long it takes


def main(argv: Sequence[str]) -> int:
    """Lists the lessons, or does what was asked of them; ``argv`` begins with ``lessons``."""
    parser = _parser()
    if len(argv) == 2 and argv[1].isdigit():
        parser.error(
            f"what is to be done with step {argv[1]}? gpu-learning lessons run {argv[1]} runs it"
        )
    arguments = parser.parse_args(argv[1:])
    lessons, root, folder = read(), Path(arguments.logs) / "lessons", Path(arguments.folder)
    action = arguments.action
    if action is None:
        return _list(lessons, folder, root)
    if action == "notebooks":
        return lesson_notebooks.main(arguments, lessons)
    if action == "progress":
        return lesson_exercises.show_progress(lessons, folder, root, arguments.json)
    asked = getattr(arguments, "lessons", None)
    try:
        chosen = [find(lessons, name) for name in (asked or ())] or lessons
        one = find(lessons, arguments.lesson) if asked is None else chosen[0]
    except ValueError as error:
        parser.error(str(error))
    if action in ("run", "verify"):
        try:
            if action == "run":
                return _run(one, root)
            return _verify(chosen, root, not arguments.full, arguments.json)
        except KeyboardInterrupt:  # its folders are emptied: a fit of it is not resumed
            command = " ".join(map(quote, argv))
            raise KeyboardInterrupt(f"to run it again:\n  gpu-learning {command}") from None
    if action == "start":
        return lesson_exercises.start(one, folder)
    if action == "hint":
        return lesson_exercises.hint(one, arguments.number, folder)
    if action == "solution":
        return lesson_exercises.solution(one)
    if arguments.submissions:
        students = Path(arguments.submissions)
        return lesson_exercises.check_submissions(chosen, students, arguments.json)
    return lesson_exercises.check_own(chosen, not asked, folder, arguments.json)


def _parser() -> Parser:
    parser = Parser(prog="gpu-learning lessons", description=__doc__)
    parser.add_argument("--logs", default="logs", help="folder of logs and pictures")
    parser.add_argument("--folder", default=FOLDER, help="folder of what you write")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    one = actions.add_parser("run", help="run one lesson as a user would")
    one.add_argument("lesson", help="its step or name, for example 9")
    lesson_exercises.add_parsers(actions)
    every = actions.add_parser("verify", help="run all that this machine can and compare")
    every.add_argument("lessons", nargs="*", help="steps or names; all of them if none is given")
    every.add_argument("--full", action="store_true", help="full sizes, as lessons run has them")
    every.add_argument("--json", action="store_true", help="one JSON document on standard output")
    lesson_notebooks.add_parser(actions)
    return parser


def _list(lessons: list[Lesson], folder: Path, root: Path) -> int:
    progress = Progress.read(folder)
    for lesson in lessons:
        if lesson.part:
            print(f"\n{lesson.part}" if lesson is not lessons[0] else lesson.part)
        head = f"{lesson.step:>4}  {lesson.title}  ({lesson.name})"
        state = shown(progress.state(Exercise(lesson)), ran(lesson, root))
        print(f"{head:<52} {lesson.minutes:>3} min, {state}")
        lesson_exercises.say(f"Afterwards you can {lesson.able_to}.", " " * 6)
        for config in lesson.configs:
            print(f"      gpu-learning fit -c {config}")
    hours = sum(lesson.minutes for lesson in lessons) / 60
    states = {lesson.step: progress.state(Exercise(lesson)) for lesson in lessons}
    step = next((n for n, state in states.items() if state != DONE), lessons[0].step)
    print(f"\n{hours:.0f} hours together. For step {step}, say:")
    print(f"gpu-learning lessons run {step:<5} runs it and compares with what is expected")
    print(f"gpu-learning lessons start {step:<3} its exercise; then check, hint, solution {step}")
    return 0


def _run(lesson: Lesson, root: Path) -> int:
    print(f"{lesson.step}  {lesson.title}\n{lesson.sees}\n", flush=True)
    if lesson.seconds >= LONG:
        print(f"It takes about {lesson.seconds} s on two processor cores.\n", flush=True)
    page = pages.find(lesson.step)
    if page:
        _say(page.idea)
        sys.stdout.flush()
    _choose_environment([lesson])
    from course.runner import lines, run_lesson  # imports torch

    result = run_lesson(lesson, root, reduced=False, silent=False)
    print("\n" + "\n".join(lines(result, _width())))
    # The mistakes first, which are what the page describes.
    found = (root / lesson.slug).rglob("*.png")
    pictures = sorted(found, key=lambda path: (path.name != "mistakes.png", path))
    if page and result.status != "skipped":
        print(f"\nHow to read it, from {pages.shown(page.path)}:")
        _say(page.reading)
    if pictures:
        print("Pictures:\n" + "\n".join(f"  {pages.shown(path)}" for path in pictures))
    print(f"\nYour turn: gpu-learning lessons start {lesson.step}")
    # As in verify: what this machine lacks is no failure, and the reason was printed.
    return 0 if result.status in ("pass", "skipped") else 1


def _choose_environment(lessons: list[Lesson]) -> None:
    """Before torch is imported, which imports Triton for some of its parts."""
    for lesson in lessons:
        # Each lesson is told by the runner what its machine lacks.
        with contextlib.suppress(environment.Unavailable):
            environment.choose(lesson.needs)


def _width() -> int:
    """Columns of the terminal; 80 for a file or a pipe."""
    return shutil.get_terminal_size((80, 24)).columns


def _say(markdown: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(markdown), "")


def _verify(lessons: list[Lesson], root: Path, reduced: bool, as_json: bool) -> int:
    _choose_environment(lessons)
    from course.runner import lines, run_lesson

    began, width = time.perf_counter(), _width()
    results = []
    for lesson in lessons:
        results.append(run_lesson(lesson, root, reduced, silent=True))
        if as_json:
            print(f"{lesson.step}: {results[-1].status}", file=sys.stderr, flush=True)
        else:
            print("\n".join(lines(results[-1], width)), flush=True)
    seconds = time.perf_counter() - began
    count = {
        status: sum(result.status == status for result in results)
        for status in ("pass", "fail", "not built", "skipped")
    }
    if as_json:
        rows = [result.as_json() for result in results]
        print(json.dumps({"lessons": rows, "count": count, "seconds": round(seconds, 1)}, indent=1))
    else:
        found = ", ".join(f"{number} {status}" for status, number in count.items())
        print(f"\n{found}; {seconds:.0f} s; pictures and logs in {root}")
    return 1 if count["fail"] or count["not built"] else 0
