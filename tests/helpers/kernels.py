"""Lessons and exercises of kernels, in processes of their own.

numba and Triton decide when they are imported whether kernels are compiled for a GPU or simulated;
a test process must stay able to do neither.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from course.catalogue import Lesson, find, read
from course.kernels import environment


def require(lesson: Lesson) -> None:
    """Skips a test where the lesson's packages are not installed."""
    try:
        environment.require(lesson.needs)
    except environment.Unavailable as missing:
        pytest.skip(str(missing))


def judged(lesson: Lesson, sources: Sequence[str]) -> list[tuple[str, str]]:
    """Status and sentence of each learner's file, all of them judged in one new process."""
    asked = json.dumps({"lesson": lesson.name, "sources": list(sources)})
    command = [sys.executable, "-m", "tests.helpers.kernels"]
    result = subprocess.run(command, input=asked, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return [(status, sentence) for status, sentence in json.loads(result.stdout)]


def _main() -> None:
    asked = json.loads(sys.stdin.read())
    lesson = find(read(), asked["lesson"])
    environment.choose(lesson.needs)
    from course.exercises.attempt import judge
    from course.exercises.source import Exercise

    exercise, verdicts = Exercise(lesson), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / exercise.file
        for source in asked["sources"]:
            path.write_text(source, encoding="utf-8")
            verdict = judge(exercise, path)
            verdicts.append((verdict.status, verdict.sentence))
    print(json.dumps(verdicts))


if __name__ == "__main__":
    _main()
