"""The lessons of kernels, in a process that decides for itself where they run."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from course.catalogue import Lesson, read
from course.kernels import environment
from tests.helpers.kernels import judged, require

LESSONS = [lesson for lesson in read() if lesson.step > 25]
TIMED = re.compile("time|speed|GB/s|launch|clock|call|neighbors|tiles")
NEEDING = [lesson for lesson in LESSONS if lesson.needs]


def gpu_learning(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_verify() -> None:
    """Without a GPU the rows that measure it are skipped, and no other."""
    for lesson in LESSONS:
        require(lesson)
    code, report = verified(LESSONS)
    assert code == 0, report
    assert report["count"] == {"pass": len(LESSONS), "fail": 0, "not built": 0, "skipped": 0}
    for row in report["lessons"]:
        skipped = [one["name"] for one in row["figures"] if one["status"] == "skipped"]
        assert skipped
        assert row["reason"].count("needs a CUDA GPU") == len(skipped)


@pytest.mark.slow
@pytest.mark.gpu
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.slug)
def test_verify_on_a_gpu(lesson: Lesson) -> None:
    """Nothing is skipped. Other tests use the card meanwhile, so times may miss what they must be
    on a quiet one."""
    require(lesson)
    _, report = verified([lesson])
    figures = report["lessons"][0]["figures"]
    assert len(figures) == len(lesson.figures), report
    assert {one["name"]: one["status"] for one in figures} == {
        one["name"]: one["status"] if TIMED.search(one["name"]) else "pass" for one in figures
    }
    assert "skipped" not in {one["status"] for one in figures}


def verified(lessons: list[Lesson]) -> tuple[int, dict[str, Any]]:
    """Exit code and report of ``lessons verify``."""
    steps = [str(lesson.step) for lesson in lessons]
    result = gpu_learning("lessons", "verify", "--json", *steps)
    return result.returncode, json.loads(result.stdout)


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
