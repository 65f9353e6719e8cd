"""``gpu-learning lessons [run N | verify]``: the course, step by step, with its figures."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.course.catalogue import Lesson, find, read


def main(argv: Sequence[str]) -> int:
    """Lists the lessons, runs one or verifies all; ``argv`` begins with ``lessons``."""
    parser = argparse.ArgumentParser(prog="gpu-learning lessons", description=__doc__)
    parser.add_argument("--logs", default="logs", help="folder of logs and pictures")
    actions = parser.add_subparsers(dest="action", metavar="run | verify")
    one = actions.add_parser("run", help="run one lesson as a user would")
    one.add_argument("lesson", help="its step or name, for example 9")
    every = actions.add_parser("verify", help="run all that this machine can and compare")
    every.add_argument("lessons", nargs="*", help="steps or names; all of them if none is given")
    every.add_argument("--full", action="store_true", help="full sizes, as lessons run has them")
    every.add_argument("--json", action="store_true", help="one JSON document on standard output")
    arguments = parser.parse_args(argv[1:])
    lessons, root = read(), Path(arguments.logs) / "lessons"
    if arguments.action == "run":
        return _run(find(lessons, arguments.lesson), root)
    if arguments.action == "verify":
        chosen = [find(lessons, name) for name in arguments.lessons] or lessons
        return _verify(chosen, root, not arguments.full, arguments.json)
    return _list(lessons)


def _list(lessons: list[Lesson]) -> int:
    for lesson in lessons:
        state = f"about {lesson.seconds} s" if lesson.check else "not built"
        print(f"{lesson.step:>4}  {lesson.title}  ({lesson.name}, {state})")
        print(f"      {lesson.sees}")
        for config in lesson.configs:
            print(f"      gpu-learning fit -c {config}")
    print("\nThe seconds are those of two cores, after ten or so that a command takes to start.")
    print("gpu-learning lessons run 9 runs one, gpu-learning lessons verify all of them")
    return 0


def _run(lesson: Lesson, root: Path) -> int:
    from scripts.course.runner import HEADER, lines, run_lesson

    print(f"{lesson.step}  {lesson.title}\n{lesson.sees}\n", flush=True)
    result = run_lesson(lesson, root, reduced=False, silent=False)
    print(f"\n{HEADER}")
    print("\n".join(lines(result)))
    return 0 if result.status == "pass" else 1


def _verify(lessons: list[Lesson], root: Path, reduced: bool, as_json: bool) -> int:
    from scripts.course.runner import HEADER, lines, run_lesson

    began = time.perf_counter()
    if not as_json:
        print(HEADER)
    results = []
    for lesson in lessons:
        results.append(run_lesson(lesson, root, reduced, silent=True))
        if as_json:
            print(f"{lesson.step}: {results[-1].status}", file=sys.stderr, flush=True)
        else:
            print("\n".join(lines(results[-1])), flush=True)
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
