"""``gpu-learning lessons start | check | hint | solution | progress``, as a learner types them."""

import json
import os
from pathlib import Path

import pytest

from course.catalogue import find, read
from course.exercises.source import Exercise
from course.pages import FOLDER
from tests.helpers.commands import bad

TENSORS = Exercise(find(read(), "tensors"))
FILE = Path("exercises") / TENSORS.file
WRONG = TENSORS.solution.replace("return (x - x.mean(dim=0)) /", "return x /")


def narrow(text: str) -> bool:
    return all(len(line) < 80 for line in text.splitlines())


def test_a_learners_way(gpu_learning, workplace: Path) -> None:
    code, out, _ = gpu_learning("lessons", "check", "4")
    assert code == 1
    where = f"{FILE} is not there (the current folder is {workplace})"
    said = f"4 Tensors: not started. {where}; gpu-learning lessons start 4 writes it."
    assert " ".join(out.split()) == said
    code, out, _ = gpu_learning("lessons", "start", "tensors")
    assert code == 0
    assert f"{FILE}: open it and write your code" in out
    assert f"Your folder for exercises: {workplace / 'exercises'}\n" in out
    assert FILE.read_text() == TENSORS.starter
    code, out, _ = gpu_learning("lessons", "check", "4")
    assert code == 1
    assert "not started. 04_tensors.py is as it was handed out" in out
    FILE.write_text(f"print('hello')\n{WRONG}")
    code, out, _ = gpu_learning("lessons", "check", "4")
    assert code == 1
    assert out.startswith("04_tensors.py printed:\n  hello\n4 Tensors: fail. standardize(tensor ")
    assert out.endswith("A hint: gpu-learning lessons hint 4\n")
    assert narrow(out)
    assert "started" in state(gpu_learning)["state"]
    FILE.write_text(TENSORS.solution)
    code, out, _ = gpu_learning("lessons", "check", "tensors")
    assert code == 0
    assert out.startswith("4 Tensors: pass. ")
    page = FOLDER / "05-devices.md"
    assert f"Next, Devices: read {page}, then gpu-learning lessons run 5 " in " ".join(out.split())
    assert state(gpu_learning)["state"] == "done"
    assert "25 min, done" in gpu_learning("lessons")[1]
    FILE.write_text(TENSORS.solution + "\n")
    assert state(gpu_learning)["state"] == "changed since it passed"
    FILE.rename("elsewhere.py")
    assert state(gpu_learning)["state"] == "not begun"


def state(gpu_learning) -> dict[str, object]:
    code, out, _ = gpu_learning("lessons", "progress", "--json")
    assert code == 0
    return json.loads(out)["exercises"][0]


def test_a_hint_is_shown_again(gpu_learning, workplace: Path) -> None:
    first = gpu_learning("lessons", "hint", "4")[1]
    second = gpu_learning("lessons", "hint", "4", "2")[1]
    assert first.startswith("Hint 1 of ")
    assert second.startswith("Hint 2 of ")
    assert gpu_learning("lessons", "hint", "4", "1")[1] == first
    assert state(gpu_learning)["hints"] == 2
    code, said = bad(gpu_learning, "lessons", "hint", "4", "9")
    assert code == 1
    assert "step 4 has hints 1 to " in said


def test_start_overwrites_nothing(gpu_learning, workplace: Path) -> None:
    gpu_learning("lessons", "start", "4")
    FILE.write_text("mine")
    code, said = bad(gpu_learning, "lessons", "start", "4")
    assert code == 1
    assert f"{FILE} is there already and stays as it is" in said
    assert FILE.read_text() == "mine"


@pytest.mark.parametrize("action", ["start", "check", "hint", "solution"])
def test_an_unknown_exercise_is_wrong_usage(gpu_learning, workplace: Path, action: str) -> None:
    last = read()[-1]
    for asked, near in (("99", f"{last.step} ({last.name})"), ("atention", "20 (attention)")):
        code, out, err = gpu_learning("lessons", action, asked)
        assert (code, out) == (2, "")
        assert f"there is no lesson '{asked}'" in err
        assert near in err
    assert not Path("exercises").exists()


def test_hints_come_one_at_a_time(gpu_learning, workplace: Path) -> None:
    shown = [gpu_learning("lessons", "hint", "4")[1] for _ in range(4)]
    for number, text in enumerate(shown[:3], start=1):
        assert text.startswith(f"Hint {number} of 3: ")
        assert text.count("Hint") == 1
    assert shown[3].count("Hint") == 3
    assert "gpu-learning lessons solution 4" in shown[3]
    assert state(gpu_learning)["hints"] == 3
    assert narrow("".join(shown))


def test_the_next_hint_is_about_the_function_that_check_found_wrong(
    gpu_learning, workplace: Path
) -> None:
    gpu_learning("lessons", "start", "4")
    FILE.write_text(TENSORS.solution.replace(".sqrt()", ""))
    assert "fail. distances(" in gpu_learning("lessons", "check", "4")[1]
    for number in (2, 3):
        shown = gpu_learning("lessons", "hint", "4")[1]
        assert shown.startswith(f"Hint {number} of 3, about distances: ")
    shown = gpu_learning("lessons", "hint", "4")[1]
    assert "Hint" not in shown
    assert shown.startswith("You have seen what hints there are about distances; gpu-learning ")
    assert "lessons hint 4 2 or gpu-learning lessons hint 4 3 shows" in " ".join(shown.split())
    assert "lessons check 4\n" in shown
    assert shown.endswith("How we solve it: gpu-learning lessons solution 4\n")
    checked = gpu_learning("lessons", "check", "4")[1]
    assert "A hint" not in checked
    assert checked.endswith("How we solve it: gpu-learning lessons solution 4\n")
    assert state(gpu_learning)["hints"] == 2
    FILE.write_text(WRONG)
    gpu_learning("lessons", "check", "4")
    shown = gpu_learning("lessons", "hint", "4")[1]
    assert shown.startswith("Hint 1 of 3, about standardize: ")
    FILE.write_text("x = (")  # says nothing of a function
    gpu_learning("lessons", "check", "4")
    assert "about standardize" in gpu_learning("lessons", "hint", "4")[1]
    FILE.write_text(TENSORS.solution)
    gpu_learning("lessons", "check", "4")
    assert gpu_learning("lessons", "hint", "4")[1].count("Hint") == 3


def test_a_record_from_before_counts_hints(gpu_learning, workplace: Path) -> None:
    FILE.parent.mkdir()
    FILE.with_name(".progress.json").write_text('{"hints": {"tensors": 2}, "passed": {}}')
    assert gpu_learning("lessons", "hint", "4")[1].startswith("Hint 3 of 3: ")
    assert json.loads(FILE.with_name(".progress.json").read_text())["hints"] == {
        "tensors": [1, 2, 3]
    }


def test_solution_is_a_file_that_passes(gpu_learning) -> None:
    code, out, _ = gpu_learning("lessons", "solution", "20")
    assert code == 0
    assert out == Exercise(find(read(), "attention")).solution


def test_another_folder(gpu_learning, workplace: Path) -> None:
    code, out, _ = gpu_learning("lessons", "start", "4", "--folder", "mine/here")
    assert code == 0
    assert "lessons check 4 --folder mine/here" in out
    assert (workplace / "mine" / "here" / TENSORS.file).is_file()
    code, out, _ = gpu_learning("lessons", "--folder", "mine/here", "progress")
    assert "   4  Tensors                           started\n" in out
    code, out, _ = gpu_learning("lessons", "check", "5", "--folder", "mine/here")
    assert "start 5 --folder mine/here writes it" in " ".join(out.split())


def test_folders_that_cannot_be(gpu_learning, workplace: Path) -> None:
    Path("file").write_text("")
    assert "file is not a folder" in bad(gpu_learning, "lessons", "start", "4", "--folder=file")[1]
    _, said = bad(gpu_learning, "lessons", "hint", "4", "--folder=file/in")
    assert "file/in/.progress.json cannot be read (Not a directory)" in said
    _, said = bad(gpu_learning, "lessons", "check")
    assert "exercises has no exercise yet; gpu-learning lessons start 4 writes" in said


@pytest.mark.parametrize("content", ["", "{", "[]", '{"hints": 1, "passed": {}}', "[" * 100_000])
def test_a_damaged_record_is_named(gpu_learning, workplace: Path, content: str) -> None:
    gpu_learning("lessons", "start", "4")
    record = FILE.with_name(".progress.json")
    record.write_text(content)
    for action in (("progress",), ("hint", "4"), ("check", "4"), ()):
        code, said = bad(gpu_learning, "lessons", *action)
        assert code == 1
        assert f"{record} is damaged; delete it" in said
    assert record.read_text() == content


def test_check_json_is_one_document(gpu_learning, workplace: Path) -> None:
    for step in ("4", "5"):
        gpu_learning("lessons", "start", step)
    FILE.write_text(f"print('hello')\n{TENSORS.solution}")
    code, out, _ = gpu_learning("lessons", "check", "--json")
    report = json.loads(out)
    assert code == 1
    assert report["count"] == {"pass": 1, "not started": 1}
    assert [row["name"] for row in report["exercises"]] == ["tensors", "devices"]
    assert report["exercises"][0]["printed"] == "hello\n"
    code, out, _ = gpu_learning("lessons", "check")
    assert out.endswith("1 pass, 0 fail, 1 not started\n")


def test_submissions(gpu_learning, workplace: Path) -> None:
    for student, source in (("ann", TENSORS.solution), ("bo", WRONG), ("ci", "x = (")):
        folder = workplace / "handed in" / student
        folder.mkdir(parents=True)
        (folder / TENSORS.file).write_text(source)
    (workplace / "handed in" / ("d" * 60)).mkdir()
    before = sorted(os.walk("handed in"))
    code, out, _ = gpu_learning("lessons", "check", "--submissions", "handed in")
    assert code == 0
    assert narrow(out)
    assert out.splitlines()[5] == "d" * 60
    rows = [row for row in out.splitlines() if row != "d" * 60]
    # The digits of a step's number are below each other.
    steps = [one + other for one, other in zip(*rows[:2], strict=False)]
    numbers = [number.strip() for number in steps if number.strip()]
    assert numbers == [str(lesson.step) for lesson in read()]
    assert rows[1].endswith("all")
    assert [row.split()[1] for row in rows[2:6]] == ["+", "x", "x", "."]
    assert [row.split()[-1] for row in rows[2:6]] == ["1", "0", "0", "0"]
    code, out, _ = gpu_learning("lessons", "check", "4", "--json", "--submissions", "handed in")
    report = json.loads(out)["students"]
    assert [rows[0]["status"] for rows in report.values()] == [
        "pass",
        "fail",
        "fail",
        "not started",
    ]
    assert report["ci"][0]["sentence"].startswith("04_tensors.py is not valid Python")
    assert sorted(os.walk("handed in")) == before
    (workplace / "none").mkdir()
    for folder in ("none", "nowhere"):
        assert "subfolder" in bad(gpu_learning, "lessons", "check", "--submissions", folder)[1]


def test_the_list_fits_a_terminal(gpu_learning, workplace: Path) -> None:
    code, out, _ = gpu_learning("lessons")
    assert code == 0
    assert narrow(out)
    for lesson in read():
        assert f"{lesson.minutes:>3} min, not begun" in out
    assert narrow(gpu_learning("lessons", "progress")[1])
