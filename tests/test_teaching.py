"""docs/teaching.md says what the lessons say, and its script makes a table of a check's JSON."""

import io
import json
import re

import pytest

from course.catalogue import read
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "teaching.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Cells of the table that begins with ``heading``."""
    table = PAGE[PAGE.index(heading) :].partition("\n\n")[0]
    return [re.split(r" *\| *", line)[1:-1] for line in table.splitlines()[2:]]


def test_minutes_and_goals_are_those_of_the_lessons() -> None:
    lessons = read()
    assert rows("| step | minutes |") == [
        [f"{lesson.step} {lesson.title}", str(lesson.minutes), lesson.able_to] for lesson in lessons
    ]
    hours = sum(lesson.minutes for lesson in lessons) / 60
    assert f"about {hours:.0f} hours" in PAGE
    stuck = rows("| step | where learners")
    assert [int(step) for step, _ in stuck] == [lesson.step for lesson in lessons]
    assert all(text for _, text in stuck)


def test_the_script_makes_a_table() -> None:
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code is not None
    definitions = code[1].partition("\nwrite_marks(")[0]
    namespace: dict = {}
    exec(definitions, namespace)
    made = {"step": 20, "status": "fail", "sentence": 'it is "1", not 2', "printed": ""}
    target = io.StringIO()
    namespace["write_marks"](io.StringIO(json.dumps({"students": {"ada": [made]}})), target)
    assert target.getvalue().splitlines() == [
        "student,step,status,sentence",
        'ada,20,fail,"it is ""1"", not 2"',
    ]


@pytest.mark.slow
def test_its_example_is_what_a_check_prints(tmp_path, gpu_learning) -> None:
    for name, text in (("ada", gpu_learning("lessons", "solution", "20")[1]), ("bela", "x = 1\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "20_attention.py").write_text(text)
    _, _, err = gpu_learning("lessons", "start", "4", "--folder", str(tmp_path / "ada"))
    assert not err
    code, out, err = gpu_learning("lessons", "check", "4", "20", "--submissions", str(tmp_path))
    assert code == 0, err
    shown = PAGE[PAGE.index("4 20  all") :].partition("```")[0].splitlines()
    assert out.splitlines()[2].split() == ["bela", ".", "x", "0"]
    assert shown[2].split() == ["bela", ".", "x", "0"]
    assert shown[-1] in out.splitlines()
    _, out, _ = gpu_learning("lessons", "check", "20", "--submissions", str(tmp_path), "--json")
    entry = json.loads(out)["students"]["bela"][0]
    named = re.search(r"each entry\s+has\s(.*?)\sand\s+`printed`", PAGE, re.DOTALL)
    assert named is not None
    fields = set(re.findall(r"`(\w+)`", named[1])) - {"pass", "fail"}  # two values of status
    assert fields | {"printed"} == set(entry)
