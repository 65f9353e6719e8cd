"""Learners' files that do more than compute the wrong thing, judged in this process."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from course.catalogue import find, read
from course.exercises.attempt import judge
from course.exercises.source import Exercise

TENSORS = Exercise(find(read(), "tensors"))
RIGHT = """
import torch
def standardize(x):
    return (x - x.mean(dim=0)) / x.std(dim=0)
def distances(a, b):
    return torch.cdist(a, b)
"""


def told(tmp_path: Path, source: str) -> str:
    path = tmp_path / TENSORS.file
    path.write_text(source, encoding="utf-8")
    verdict = judge(TENSORS, path)
    assert verdict.status == "fail", verdict
    return verdict.sentence


def body(line: str) -> str:
    """The function standardize, of one line."""
    return f"import sys, torch\ndef standardize(x):\n    {line}\n"


def test_another_way_to_write_it_passes(tmp_path: Path) -> None:
    path = tmp_path / TENSORS.file
    path.write_text(RIGHT)
    assert judge(TENSORS, path).status == "pass"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (body("pass"), "standardize(tensor (5, 3)) is None; is a return missing?"),
        (body("return x.tolist()"), "standardize(tensor (5, 3)) is a list, expected a tensor"),
        (body("return 1.5"), "standardize(tensor (5, 3)) is a float, expected a tensor"),
        (
            body("return int('a')"),
            "standardize(tensor (5, 3)) raises ValueError: invalid literal for int() with base 10: "
            "'a' (line 3: return int('a'))",
        ),
        (
            body("sys.exit(0)"),
            "standardize(tensor (5, 3)) ends the program with sys.exit or quit (line 3: "
            "sys.exit(0)); return a value instead",
        ),
        (
            body("return standardize(x)"),
            "standardize(tensor (5, 3)) calls itself without end (line 3: return standardize(x)); "
            "is there a case that returns at once?",
        ),
        (
            body("raise NotImplementedError()"),
            "standardize(tensor (5, 3)) is not written yet (line 3: raise NotImplementedError())",
        ),
        (
            body("raise KeyboardInterrupt"),
            "standardize(tensor (5, 3)) raises KeyboardInterrupt (line 3: raise KeyboardInterrupt)",
        ),
        (
            "def standardize(): return 1",
            "standardize(tensor (5, 3)) raises TypeError: standardize() takes 0 positional "
            "arguments but 1 was given",
        ),
        (
            "x = 1 / 0",
            "reading the file raises ZeroDivisionError: division by zero (line 1: x = 1 / 0)",
        ),
        (
            "import nonsense_module",
            "reading the file raises ModuleNotFoundError: No module named 'nonsense_module' (line "
            "1: import nonsense_module)",
        ),
        ("import sys\nsys.exit()", "reading the file ends the program with sys.exit or quit"),
        ("def standardized(x): return x", "04_tensors.py defines no function standardize; keep"),
        ("standardize = 5", "04_tensors.py defines no function standardize; keep the name"),
        ("", "04_tensors.py defines no function standardize; keep the name"),
        (
            body("x[0] = 0\n    return x"),
            "standardize changes its argument x in place; leave it as it is and compute a new",
        ),
    ],
)
def test_what_a_file_does(tmp_path: Path, source: str, says: str) -> None:
    assert told(tmp_path, source).startswith(says)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def standardize(x)\n    return x", "(line 1: def standardize(x))"),
        ("def f(x):\nreturn x", "(line 2: return x)"),
        ("x = (1,\n", "(line 1: x = (1,)"),
        (f"x = ({'1, ' * 24}1", f"(line 1: x = ({'1, ' * 24}1)"),
        (f"x = ({'1, ' * 30}1", f"(line 1: x = ({'1, ' * 24}...)"),
        ("return 5", "'return' outside function (line 1: return 5)"),
        ("a\0b", "null byte"),
        ("(" * 300 + ")" * 300, "too many nested parentheses"),
    ],
)
def test_what_is_not_python(tmp_path: Path, source: str, says: str) -> None:
    sentence = told(tmp_path, source)
    assert sentence.startswith("04_tensors.py is not valid Python: ")
    assert says in sentence


def test_what_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / TENSORS.file
    path.write_bytes(b"x = '\xff'")
    assert judge(TENSORS, path).sentence == f"{path} is not UTF-8 text; save it as such"
    path.unlink()
    path.mkdir()
    assert judge(TENSORS, path).sentence == f"{path} cannot be read (Is a directory)"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("torch.isclose = lambda *a, **k: torch.tensor(True)", "torch.isclose"),
        ("torch.Tensor.any = lambda *a: False", "Tensor.any"),
        ("torch.nn.Module.state_dict = lambda *a: {}", "Module.state_dict"),
        ("import json; json.dumps = lambda *a: 'pass'", "json.dumps"),
        ("import builtins; builtins.isinstance = lambda *a: True", "builtins.isinstance"),
    ],
)
def test_what_the_check_needs_is_not_replaced(tmp_path: Path, line: str, name: str) -> None:
    before = (torch.isclose, torch.Tensor.any, nn.Module.state_dict, json.dumps, isinstance)
    in_a_function = RIGHT.replace("    return (", f"    {line}\n    return (", 1)
    for source in (f"import torch\n{line}\n{RIGHT}", in_a_function):
        sentence = told(tmp_path, source)
        assert sentence.startswith(f"the file replaces {name}, which the check needs")
        now = (torch.isclose, torch.Tensor.any, nn.Module.state_dict, json.dumps, isinstance)
        assert now == before


def test_right_for_one_input_is_not_right(tmp_path: Path) -> None:
    """The first input is recognized and answered; the next ones are not."""
    path = tmp_path / TENSORS.file
    path.write_text(
        RIGHT.replace("    return (", "    if x.shape != (5, 3):\n        return x\n    return (")
    )
    verdict = judge(TENSORS, path)
    assert verdict.status == "fail"
    assert verdict.sentence.startswith("standardize(tensor (4, 4)) is ")


def test_switched_off_gradients_are_noticed(tmp_path: Path) -> None:
    words = Exercise(find(read(), "words"))
    path = tmp_path / words.file
    path.write_text("import torch\ntorch.set_grad_enabled(False)\n" + words.solution)
    try:
        assert "has no gradient" in judge(words, path).sentence
    finally:
        torch.set_grad_enabled(True)


def test_a_solution_may_use_dataclasses_and_helpers(tmp_path: Path) -> None:
    path = tmp_path / TENSORS.file
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Pair:\n    a: int = 1\n" + RIGHT
    )
    assert judge(TENSORS, path).status == "pass"
