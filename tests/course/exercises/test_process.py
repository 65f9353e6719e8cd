"""A learner's file in a process of its own: limits, prints, and how it ends."""

from pathlib import Path

import pytest

from course.catalogue import find, read
from course.exercises import process
from course.exercises.process import Checked, check
from course.exercises.source import Exercise

TENSORS = Exercise(find(read(), "tensors"))


@pytest.fixture(scope="module", autouse=True)
def _imported_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The process that the others are forks of imports torch, which takes seconds."""
    process.prepare([TENSORS])
    assert checked(tmp_path_factory.mktemp("first"), TENSORS.solution).status == "pass"


def checked(folder: Path, source: str, limit: float = process.LIMIT) -> Checked:
    path = folder / TENSORS.file
    path.write_text(source, encoding="utf-8")
    return check(TENSORS, path, limit)


def body(*lines: str) -> str:
    return "\n    ".join(["def standardize(x):", *lines])


def test_prints_do_not_disturb_the_result(tmp_path: Path) -> None:
    loud = 'import os, sys\nprint("{\\"status\\": 1}")\nprint("ä", file=sys.stderr)\n'
    loud += 'os.write(1, b"raw\\xff\\n")\n'
    found = checked(tmp_path, loud + TENSORS.solution)
    assert (found.status, found.printed) == ("pass", '{"status": 1}\nä\nraw\ufffd\n')
    assert found.as_json()["step"] == 4
    assert not list(tmp_path.rglob("*.pyc"))


def test_a_warning_of_the_learners_line_is_one_line(tmp_path: Path) -> None:
    noisy = "import warnings\nimport torch\ntorch.zeros(2, 3, 4).T\n"
    noisy += "warnings.warn_explicit('not of this file', UserWarning, 'other.py', 1)\n"
    found = checked(tmp_path, noisy + TENSORS.solution)
    assert (found.status, found.printed) == ("pass", "")
    (said,) = found.warned
    assert said.startswith("line 3: The use of `x.T` on tensors of dimension other than 2")
    assert "Triggered internally" not in said
    assert found.as_json()["warnings"] == [said]


def test_a_loop_without_end_is_stopped(tmp_path: Path) -> None:
    assert process.LIMIT == 10
    found = checked(tmp_path, "print('before')\n" + body("while True:", "    pass"), limit=1)
    assert found.status == "fail"
    assert found.sentence.startswith("04_tensors.py runs longer than 1 seconds and was stopped ")
    assert "(line 3: while True:)" in found.sentence or "(line 4: pass)" in found.sentence
    assert found.printed == "before\n"


def test_a_loop_that_prints_without_end_is_stopped(tmp_path: Path) -> None:
    found = checked(tmp_path, "while True: print('again')", limit=1)
    assert found.sentence.endswith("is there a loop that never ends?")
    assert 9_000 < len(found.printed) <= 10_000


def test_code_that_sets_the_clock_back_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_GRACE", 0.5)
    source = "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0)\nwhile True: pass\n"
    assert checked(tmp_path, source, limit=0.5).sentence == (
        "04_tensors.py runs longer than 0.5 seconds and was stopped; is there a loop that never "
        "ends?"
    )


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (("import os", "os._exit(0)"), "ends the whole process (exit code 0) before its check"),
        (("import os", "os.abort()"), "ends the whole process (SIGABRT) before its check is done"),
        (("import os", "os.kill(os.getpid(), 9)"), "ends the whole process (SIGKILL) before its"),
        (("import torch", "return torch.zeros(1 << 40)"), "needs more memory than an exercise may"),
        (("return bytearray(1 << 40)",), "needs more memory than an exercise may have (line 2: "),
        (
            ("import urllib.request", "return urllib.request.urlopen('http://127.0.0.1:9')"),
            "an exercise has no network; what it needs is in its arguments",
        ),
        (("return input()",), "raises EOFError: EOF when reading a line (line 2: return input())"),
    ],
)
def test_how_a_process_ends(tmp_path: Path, lines: tuple[str, ...], says: str) -> None:
    found = checked(tmp_path, body(*lines))
    assert found.status == "fail"
    assert says in found.sentence


def test_each_file_has_a_process_of_its_own(tmp_path: Path) -> None:
    """What one leaves behind, the next does not see."""
    left = "import torch\ntorch.set_default_dtype(torch.float64)\ntorch.softmax = None\n"
    assert checked(tmp_path, left + TENSORS.solution).status == "fail"
    assert checked(tmp_path, TENSORS.solution).status == "pass"


def test_a_thread_left_behind_does_not_hold_the_check(tmp_path: Path) -> None:
    source = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
    assert checked(tmp_path, source + TENSORS.solution).status == "pass"
