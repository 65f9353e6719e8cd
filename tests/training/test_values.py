from pathlib import Path

import pytest

from training.parser import explain
from training.values import choice, wrong_value

UNION = """Parser key "trainer.{name}":
  Does not validate against any of the Union subtypes
  Subtypes: [{types}]
  Errors:
    - Expected a <class 'int'>
    - Expected a typing.Literal['min', 'max']
  Given value type: <class 'str'>
  Given value: {value}"""


def union(types: str, value: str = "x") -> str:
    return UNION.format(name="of_a_test", types=types, value=value)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["--model.lr", "fast"], "--model.lr: expected float, got fast"),
        (["--model.init_args.lr=fast"], "--model.init_args.lr: expected float, got fast"),
        (["--optimizer.lr", "1", "--model.lr", "fast"], "--model.lr: expected float, got fast"),
        (["--lr", "fast"], "--lr: expected float, got fast"),
        (["--model.lrs", "fast"], "lr: expected float, got fast"),
        ([], "lr: expected float, got fast"),
    ],
)
def test_the_option_is_named_as_it_was_typed(typed: list[str], expected: str) -> None:
    message = "Parser key \"lr\":\n  Expected a <class 'float'>. Got value: fast"
    assert wrong_value(message, typed) == expected
    assert explain(message, (), typed) == expected


def test_a_line_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model:\n  init_args:\n    lr: fast\n")
    message = "Parser key \"lr\":\n  Expected a <class 'float'>. Got value: fast"
    said = wrong_value(message, ["-c", str(path), "--trainer.max_epochs", "1"])
    assert said == f"model.init_args.lr: expected float, got fast ({path}:3)"


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ("<class 'int'>, <class 'NoneType'>", "expected int, got x"),
        ("<class 'int'>, <class 'float'>, <class 'NoneType'>", "expected int or float, got x"),
        ("<class 'bool'>, typing.Literal['warn']", "expected bool or warn, got x"),
        ("list[int], <class 'NoneType'>", "expected list[int], got x; write [x]"),
        ("<class 'float'>, <class 'torch.Tensor'>", "expected float, got x"),
    ],
)
def test_a_union_is_one_sentence(types: str, expected: str) -> None:
    assert wrong_value(union(types)) == f"trainer.of_a_test: {expected}"


def test_choices_are_listed_once_with_the_nearest() -> None:
    types = "typing.Literal[64, 16], typing.Literal['16-mixed', 'bf16-mixed'], typing.Literal['16']"
    typed = ["--trainer.of_a_test", "bf17-mixed"]
    assert wrong_value(union(types, "bf17-mixed"), typed) == (
        "--trainer.of_a_test must be one of 16, 16-mixed, 64, bf16-mixed, got 'bf17-mixed'; did "
        "you mean bf16-mixed?"
    )
    assert choice("--a", "x", ["b", "a", "b"]) == "--a must be one of a, b, got 'x'"
    precisions = ["16-mixed", "bf16", "bf16-mixed", "32", "64"]
    for value, meant in (("fp16", "16-mixed"), ("Float32", "32"), ("bfloat16", "bf16-mixed")):
        assert choice("--a", value, precisions).endswith(f"; did you mean {meant}?")
    assert choice("--a", "half", ["b"]) == "--a must be one of b, got 'half'"
    many = [f"ddp_{number}" for number in range(20)]
    assert choice("--a", "x", ["ddp", *many]) == "--a must be one of ddp, got 'x'"


@pytest.mark.parametrize(
    "message",
    [
        "something else",
        union("<class 'lightning.pytorch.loggers.logger.Logger'>, <class 'bool'>"),
        'Parser key "size":\n  size must be at least 1. Got value: 0',
    ],
)
def test_other_reports_are_left_alone(message: str) -> None:
    assert wrong_value(message) == ""


@pytest.mark.parametrize(
    ("typed", "message", "expected"),
    [
        (
            ["--model.lrs", "[1, x]"],
            "Expected a <class 'int'>. Got value: [1, 'x']",
            "--model.lrs: expected int, got [1, 'x']",
        ),
        (
            ["--model.lrs={a: 1}"],
            "Expected a <class 'tuple'>. Got value: {'a': 1}",
            "--model.lrs: expected tuple, got {'a': 1}",
        ),
        (
            ["--model.lrs", "[1, 2, 3]"],
            "Expected a tuple with 2 elements. Got value: [1, 2, 3]",
            "--model.lrs: expected tuple with 2 elements, got [1, 2, 3]",
        ),
        (
            ["--model.lrs="],
            "Expected a <class 'float'>. Got value: ",
            "--model.lrs: expected float, got nothing",
        ),
    ],
)
def test_a_value_of_several_parts_and_none_at_all(
    typed: list[str], message: str, expected: str
) -> None:
    assert explain(f'Parser key "lrs":\n  {message}', (), typed) == expected


@pytest.mark.parametrize(
    ("typed", "message", "expected"),
    [
        (
            ["--model.width", "3", "--model.lr"],
            "argument --model: expected one argument",
            "--model.lr needs a value after it",
        ),
        (
            ["--model.lr", "--trainer.max_epochs", "3"],
            "argument --model: expected one argument",
            "--model.lr needs a value after it",
        ),
        (
            ["--trainer.max_epochs"],
            "argument --trainer.max_epochs: expected one argument",
            "--trainer.max_epochs needs a value after it",
        ),
        (
            ["--lr_scheduler", "StepLR"],
            "the following arguments are required: step_size",
            "a class that was named needs 'step_size': add after it --lr_scheduler.step_size VALUE",
        ),
        (
            ["--trainer.callbacks+=Own"],
            "the following arguments are required: size",
            "a class that was named needs 'size': add after it --trainer.callbacks.size VALUE",
        ),
    ],
)
def test_what_is_missing_is_named_as_it_is_typed(
    typed: list[str], message: str, expected: str
) -> None:
    assert explain(message, (), typed) == expected


def test_what_may_be_null_is_taken_out_by_null() -> None:
    message = union("<class 'lightning.pytorch.callbacks.Checkpoint'>, <class 'NoneType'>", "false")
    message = message.replace("a <class 'int'>", "a dot import path string: false")
    assert explain(message) == "there is no class 'false'; null takes it out"
