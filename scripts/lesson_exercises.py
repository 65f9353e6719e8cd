"""``gpu-learning lessons start | check | hint | solution | progress``: what the learner writes."""

import argparse
import json
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from course import pages
from course.catalogue import Lesson, read
from course.exercises.process import Checked, check, prepare
from course.exercises.source import FAIL, FOLDER, NOT_STARTED, PASS, Exercise, refuse
from course.progress import DONE, Progress, ran, shown
from scripts.parser import Parser
from scripts.waiting import SENTENCE

WIDTH = 79
_SIGNS = {PASS: "+", FAIL: "x", NOT_STARTED: "."}


def say(text: str, indent: str = "") -> None:
    """Prints a paragraph that fits a terminal of 80 columns."""
    wrapper = textwrap.TextWrapper(
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    print(wrapper.fill(text))


def add_parsers(actions: "argparse._SubParsersAction[Parser]") -> None:
    folder = Parser(add_help=False)
    folder.add_argument(
        "--folder", default=argparse.SUPPRESS, help="your folder; exercises if not given"
    )
    texts = {
        "start": "write the step's file with holes into your folder",
        "hint": "show the next hint, about what check found wrong",
        "solution": "show how the course solves it",
    }
    for name, text in texts.items():
        one = actions.add_parser(name, help=text, parents=[folder])
        one.add_argument("lesson", help="its step or name, for example 20 or attention")
        if name == "hint":
            one.add_argument("number", nargs="?", type=int, metavar="K", help="show hint K")
    some = actions.add_parser("check", help="compare what you wrote", parents=[folder])
    some.add_argument("lessons", nargs="*", help="steps or names; all that you began if none")
    some.add_argument("--json", action="store_true", help="one JSON document on standard output")
    some.add_argument(
        "--submissions",
        metavar="FOLDER",
        help="for teachers: a folder with one subfolder per student; one table of all",
    )
    whole = actions.add_parser("progress", help="what you have done", parents=[folder])
    whole.add_argument("--json", action="store_true", help="one JSON document on standard output")


def start(lesson: Lesson, folder: Path) -> int:
    exercise = Exercise(lesson)
    path = folder / exercise.file
    option = _option(folder)
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(exercise.starter)
    except FileExistsError as error:
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder; name another with --folder") from error
        raise ValueError(
            f"{path} is there already and stays as it is; go on with it (gpu-learning lessons "
            f"check {lesson.step}{option}), or rename it to start again"
        ) from error
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror}); name another folder with --folder"
        ) from error
    say(f"{path}: open it and write your code where it says YOUR CODE HERE.")
    if new:
        print(f"Your folder for exercises: {folder.resolve()}")
    print(f"Check it:  gpu-learning lessons check {lesson.step}{option}")
    print(f"A hint:    gpu-learning lessons hint {lesson.step}{option}")
    return 0


def hint(lesson: Lesson, number: int | None, folder: Path) -> int:
    """Shows the next hint, or the one with a number.

    The next one is about the function that the last check found wrong, if hints tell of it; of
    those hints none is repeated. Without such a function all are, after the last one.
    """
    exercise, progress = Exercise(lesson), Progress.read(folder)
    seen, last = progress.hints.get(lesson.name, []), len(exercise.hints)
    if number is not None and not 1 <= number <= last:
        raise ValueError(f"step {lesson.step} has hints 1 to {last}, and no hint {number}")
    function = progress.wrong.get(lesson.name, "")
    told = exercise.hints_about(function)
    about = f" about {function}" if told and number is None else ""
    wanted = told or list(range(1, last + 1))
    if number is None:
        number = next((one for one in wanted if one not in seen), None)
    if number is not None:
        if number not in seen:
            progress.hints[lesson.name] = [*seen, number]
            progress.write()
        comma = "," if about else ""
        say(f"Hint {number} of {last}{comma}{about}: {exercise.hints[number - 1]}")
        return 0
    command, option = f"gpu-learning lessons hint {lesson.step}", _option(folder)
    if told:
        again = " or ".join(f"{command} {one}{option}" for one in told)
        say(f"You have seen what hints there are{about}; {again} shows it again.")
        say(f"What is wrong with it: gpu-learning lessons check {lesson.step}{option}")
    else:
        for position in wanted:
            say(f"Hint {position} of {last}: {exercise.hints[position - 1]}")
        say("There are no more.")
    print(f"How we solve it: gpu-learning lessons solution {lesson.step}")
    return 0


def solution(lesson: Lesson) -> int:
    print(Exercise(lesson).solution, end="")
    return 0


def check_own(lessons: Sequence[Lesson], every: bool, folder: Path, as_json: bool) -> int:
    """Checks the learner's own files; of ``every`` lesson only those that were begun."""
    exercises = [Exercise(lesson) for lesson in lessons]
    if every:
        exercises = [exercise for exercise in exercises if (folder / exercise.file).is_file()]
        if not exercises:
            raise ValueError(
                f"{folder} has no exercise yet; gpu-learning lessons start 4{_option(folder)} "
                "writes the first one"
            )
    progress = Progress.read(folder)
    prepare(exercises)
    if any(refuse(exercise, folder / exercise.file) is None for exercise in exercises):
        print(SENTENCE, file=sys.stderr, flush=True)  # a process of its own imports it
    results = []
    for exercise in exercises:
        digest = progress.digest(exercise)
        results.append(check(exercise, folder / exercise.file))
        if not as_json:
            _tell(results[-1], folder, progress)
        if results[-1].status == PASS:
            progress.note(exercise, digest)
        elif results[-1].status == FAIL:
            progress.note_wrong(exercise, results[-1].function)
    count = Counter(result.status for result in results)
    if as_json:
        rows = [result.as_json() for result in results]
        print(json.dumps({"exercises": rows, "count": count}, indent=1))
    elif len(results) > 1:
        print(", ".join(f"{count[status]} {status}" for status in _SIGNS))
    elif results[0].status == PASS:
        step = results[0].exercise.lesson.step
        if following := next((lesson for lesson in read() if lesson.step > step), None):
            page = pages.find(following.step)
            read_first = f"read {pages.shown(page.path)}, then " if page else ""
            say(f"Next, {following.title}: {read_first}gpu-learning lessons run {following.step}")
        print(f"All you did: gpu-learning lessons progress{_option(folder)}")
    return 0 if count[PASS] == len(results) else 1


def _tell(result: Checked, folder: Path, progress: Progress) -> None:
    lesson, option = result.exercise.lesson, _option(folder)
    if result.printed:
        print(f"{result.path.name} printed:\n{textwrap.indent(result.printed.rstrip(), '  ')}")
    end = "" if result.sentence[-1] in ".?" else "."
    say(f"{lesson.step} {lesson.title}: {result.status}. {result.sentence}{end}")
    for warning in result.warned:
        say(f"Warning, {result.path.name}, {warning}")
    told = set(result.exercise.hints_about(result.function))
    if result.status == FAIL and told and told <= set(progress.hints.get(lesson.name, [])):
        print(f"How we solve it: gpu-learning lessons solution {lesson.step}")
    elif result.status == FAIL:
        print(f"A hint: gpu-learning lessons hint {lesson.step}{option}")
    sys.stdout.flush()


def check_submissions(lessons: Sequence[Lesson], folder: Path, as_json: bool) -> int:
    """One row per student, one column per exercise."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; it has one subfolder per student")
    students = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not students:
        raise ValueError(f"{folder} has no subfolder; one per student is expected, with the files")
    exercises = [Exercise(lesson) for lesson in lessons]
    prepare(exercises)
    # The number that passed takes the last columns. Of many steps the digits are below each other.
    columns = 3 if 3 * len(exercises) + 13 <= WIDTH else 2
    room = max(8, WIDTH - columns * len(exercises) - 5)
    if not as_json:
        numbers = [f"{lesson.step:>2}" for lesson in lessons]
        *above, last = zip(*numbers, strict=True) if columns == 2 else [numbers]
        for row in above:
            print(f"{'':{room}} {' '.join(row)}")
        print(f"{'':{room}} {' '.join(last)}  all")
    table = {}
    for student in students:
        table[student.name] = results = [check(e, student / e.file) for e in exercises]
        if not as_json:
            signs = "".join(f"{_SIGNS[result.status]:>{columns}}" for result in results)
            passed = sum(result.status == PASS for result in results)
            name = student.name
            if len(name) >= room:  # a line of its own
                print(name)
                name = ""
            print(f"{name:{room}}{signs}{passed:>5}", flush=True)
    if as_json:
        rows = {name: [result.as_json() for result in results] for name, results in table.items()}
        print(json.dumps({"students": rows}, indent=1))
    else:
        print("\n" + ", ".join(f"{sign} {status}" for status, sign in _SIGNS.items()))
        print("gpu-learning lessons check --submissions FOLDER --json has the sentences")
    return 0


def show_progress(lessons: Sequence[Lesson], folder: Path, root: Path, as_json: bool) -> int:
    progress = Progress.read(folder)
    rows = [
        {
            "step": lesson.step,
            "name": lesson.name,
            "run": ran(lesson, root),
            "state": progress.state(Exercise(lesson)),
            "hints": len(progress.hints.get(lesson.name, [])),
        }
        for lesson in lessons
    ]
    if as_json:
        print(json.dumps({"exercises": rows}, indent=1))
        return 0
    for lesson, row in zip(lessons, rows, strict=True):
        hints = f", {row['hints']} of {len(Exercise(lesson).hints)} hints" if row["hints"] else ""
        state = shown(row["state"], row["run"])
        print(f"{lesson.step:>4}  {lesson.title:<34}{state}{hints}")
    done, run = (sum(row["state"] == DONE for row in rows), sum(row["run"] for row in rows))
    print(f"\nexercises: {done} of {len(rows)} done; lessons: {run} run")
    print(f"Files and record are in {folder}{os.sep}, runs in {root}{os.sep}")
    return 0


def _option(folder: Path) -> str:
    """What has to be typed where the folder is another than the default."""
    return "" if str(folder) == FOLDER else f" --folder {folder}"
