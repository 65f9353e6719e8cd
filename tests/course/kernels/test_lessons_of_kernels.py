"""The lessons of kernels, in a process that decides for itself where they run."""

import json
import subprocess
import sys

import pytest

from course.catalogue import Lesson, read
from course.kernels import environment
from tests.helpers.kernels import judged, require

LESSONS = [lesson for lesson in read() if lesson.step > 25]
NEEDING = [lesson for lesson in LESSONS if lesson.needs]


def gpu_learning(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_verify(device: str) -> None:
    """On a GPU nothing is skipped; without one the rows that measure it are, and no other."""
    for lesson in LESSONS:
        require(lesson)
    steps = [str(lesson.step) for lesson in LESSONS]
    result = gpu_learning("lessons", "verify", "--json", *steps)
    report = json.loads(result.stdout)
    assert result.returncode == 0, report
    assert report["count"] == {"pass": len(LESSONS), "fail": 0, "not built": 0, "skipped": 0}
    for row in report["lessons"]:
        skipped = [one["name"] for one in row["figures"] if one["status"] == "skipped"]
        if device == "cuda":
            assert not skipped
        else:
            assert skipped
            assert row["reason"].count("needs a CUDA GPU") == len(skipped)


@pytest.mark.gpu
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.slug)
def test_solutions_pass_on_a_gpu(lesson: Lesson) -> None:
    from course.exercises.source import Exercise

    assert environment.on_gpu()
    require(lesson)
    status, sentence = judged(lesson, [Exercise(lesson).solution])[0]
    assert status == "pass", sentence


@pytest.mark.gpu
def test_a_missing_bounds_check_is_noticed_on_a_gpu() -> None:
    """Where nothing raises, the margin around the output tells."""
    from course.exercises.source import Exercise

    lesson = next(lesson for lesson in LESSONS if lesson.name == "threads")
    require(lesson)
    source = Exercise(lesson).solution.replace("if i < out.size:", "if i < 1000:")
    status, sentence = judged(lesson, [source])[0]
    assert status == "fail"
    assert "writes outside of out" in sentence
