"""Learners' kernels in the process of a check: what never ends, what crashes, what is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from course.catalogue import find, read
from course.exercises import process
from course.exercises.source import Exercise
from course.kernels import environment
from tests.conftest import ROOT
from tests.helpers.kernels import require

THREADS, BANDWIDTH = (Exercise(find(read(), name)) for name in ("threads", "bandwidth"))


def checked(exercise: Exercise, folder: Path, old: str, new: str, limit: float) -> str:
    require(exercise.lesson)
    assert exercise.solution.count(old) == 1
    path = folder / exercise.file
    path.write_text(exercise.solution.replace(old, new))
    found = process.check(exercise, path, limit)
    assert found.status == "fail"
    return found.sentence


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exercise", "old", "new"),
    [
        (
            THREADS,
            "    i = cuda.grid(1)\n",
            "    i = cuda.grid(1)\n    while True:\n        i += 0\n",
        ),
        (
            BANDWIDTH,
            "    inside = i < n\n",
            "    inside = i < n\n    while True:\n        i += 0\n",
        ),
    ],
    ids=["numba", "triton"],
)
def test_a_kernel_that_never_ends_is_stopped(
    exercise: Exercise, old: str, new: str, tmp_path: Path
) -> None:
    sentence = checked(exercise, tmp_path, old, new, limit=8)
    assert sentence.startswith(f"{exercise.file} runs longer than 8 seconds and was stopped")
    assert sentence.endswith("is there a loop that never ends?")


@pytest.mark.slow
def test_a_write_far_outside_ends_its_own_process(tmp_path: Path) -> None:
    far = "tl.store(out + i * n * n * n,"
    sentence = checked(BANDWIDTH, tmp_path, "tl.store(out + i,", far, limit=60)
    assert "writes outside of out" in sentence or "ends the whole process (SIGSEGV)" in sentence


@pytest.mark.slow
def test_the_whole_of_it_passes_through_the_command(gpu_learning, workplace: Path) -> None:
    """As a learner has it: start, the solution, check."""
    require(THREADS.lesson)
    gpu_learning("lessons", "start", "27")
    assert gpu_learning("lessons", "check", "27")[0] == 1
    Path("exercises", THREADS.file).write_text(THREADS.solution)
    before = dict(os.environ)
    code, out, err = gpu_learning("lessons", "check", "27")
    assert code == 0, (out, err)
    assert dict(os.environ) == before


OTHERS = """
import multiprocessing, sys
from pathlib import Path
from course.catalogue import find, read
from course.exercises import process
from course.exercises.source import Exercise
if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["triton"])
    first = context.Process(target=print)
    first.start()
    first.join()
    exercise = Exercise(find(read(), "threads"))
    Path(exercise.file).write_text(exercise.solution)
    print(process.check(exercise, Path(exercise.file)))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no fork server")
def test_a_fork_server_that_others_started_does_as_well(workplace: Path) -> None:
    """Even one that has imported Triton without its simulator."""
    require(THREADS.lesson)
    Path("others.py").write_text(OTHERS)
    done = subprocess.run(
        [sys.executable, "others.py"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "status='pass'" in done.stdout, done.stdout + done.stderr


def test_a_missing_package_is_no_mistake_of_the_learner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(environment.PACKAGES, "numba", ("no_such_module", "numba-cuda"))
    path = tmp_path / THREADS.file
    path.write_text(THREADS.solution)
    sentence = process.check(THREADS, path).sentence
    assert sentence.startswith("27_threads.py needs numba-cuda, which is not installed; make setup")
