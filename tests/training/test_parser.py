import importlib
from pathlib import Path

import pytest
from lightning.pytorch import LightningDataModule, LightningModule

from training.parser import explain, overridden


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Option 'lrr' is not accepted", "option 'lrr' is not accepted; did you mean 'lr'?"),
        ("Option 'zzz' is not accepted", "option 'zzz' is not accepted; it takes lr, trainer.x"),
        ("Subcommand 'fit' does not accept option 'trainr.x'", "there is no option 'trainr'"),
        ("Unrecognized arguments: --lrr=3", "there is no option 'lrr'; did you mean 'lr'?"),
        ("module 'json' has no attribute 'lods'", "json has no 'lods'; did you mean 'loads'?"),
        ("Parser key \"a\":\n  Expected a <class 'int'>", "a: expected int"),
        (
            "Parser key \"trainer.max_epochs\":\n  Errors:\n    - Expected a <class 'int'>\n"
            "    - Expected a <class 'NoneType'>\n  Given value type: <class 'str'>\n"
            "  Given value: abc",
            "trainer.max_epochs: expected int, got abc",
        ),
        ("Expected a <class 'float'>. Got value: abc", "expected float, got abc"),
        ("the following arguments are required: fit.data, fit.model", "a model and its data are"),
        (
            "the following arguments are required: monitor",
            "a class that was named needs 'monitor': of a callback it is given after it, as --trai",
        ),
        (
            "unrecognized arguments: configs/a.yaml",
            "a configuration is named with -c: -c configs/a",
        ),
        (
            "unrecognized arguments: --rate 1",
            "there is no option 'rate'; what the model takes is --mo",
        ),
        (
            "Does not validate\nErrors:\n  - size must be at least 1, got 0\n"
            "Given value: Namespace(size=0)",
            "size must be at least 1, got 0",
        ),
        ("Expected a <class 'tuple'>. Got value: 4,8", "expected tuple, got 4,8; write [4,8]"),
        ("File does not exist: '/nowhere/a.yaml'", "there is no /nowhere/a.yaml, and no folder /n"),
        ("argument -c/--config: expected one argument", "-c needs a file after it: -c configs/d"),
        ("something else", "something else"),
    ],
)
def test_one_sentence(message: str, expected: str) -> None:
    said = explain(message, ["lr", "trainer.x", "help"])
    assert said.startswith(expected)
    assert "\n" not in said


def test_a_file_of_nearly_that_name_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "digits_cnn.yaml").touch()
    wrong = tmp_path / "digit_cnn.yaml"
    said = explain(f'config: Parser key "config": File does not exist: {str(wrong)!r}')
    assert said == f"there is no {wrong}; did you mean {tmp_path / 'digits_cnn.yaml'}?"


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("hidden_of_a_test", "--model.init_args.hidden_of_a_test"),
        ("files_of_a_test", "--data.init_args.files_of_a_test"),
        (
            "in_both",
            "--model.init_args.in_both or --data.init_args.in_both",
        ),
        ("epochs", "--trainer.max_epochs"),
        ("fast_dev_run", "--trainer.fast_dev_run"),
    ],
)
def test_an_option_without_its_part_is_found_where_it_exists(wrong: str, expected: str) -> None:
    class Model(LightningModule):
        def __init__(self, hidden_of_a_test: int, in_both: int) -> None: ...

    class Data(LightningDataModule):
        def __init__(self, files_of_a_test: int, in_both: int) -> None: ...

    options = ["seed_everything", "trainer.max_epochs", "trainer.fast_dev_run", "help"]
    said = explain(f"unrecognized arguments: --{wrong} 1", options)
    assert said == f"there is no option '{wrong}'; did you mean {expected}?"


CALLBACKS = "Subtypes: [list[x], <class 'lightning.pytorch.callbacks.callback.Callback'>]\n"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (CALLBACKS + "Expected a dot import path string: EarlyStoping", "mean 'EarlyStopping'?"),
        (CALLBACKS + "Expected a dot import path string: StpLR", "did you mean 'StepLR'?"),
        # The module callbacks.predictions is as near.
        ("module 'callbacks' has no attribute 'Predictions'", "did you mean 'PredictionFigures'?"),
        ("unrecognized arguments: --OneCycle.max_lr=3", "--trainer.callbacks+=OneCycle, then"),
        ("HINT: install wandb\n- Expected a <class 'bool'>", "HINT: install wandb"),
    ],
)
def test_a_mistyped_class_is_suggested(message: str, expected: str) -> None:
    importlib.import_module("callbacks")
    assert expected in explain(message)


def test_a_file_after_an_option_that_it_sets(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("trainer: {max_epochs: 60}\ndata: {init_args: {rotate: 10}}\n")
    for option in ("--trainer.max_epochs=1", "--data.rotate=0", "--data.init_args.rotate=0"):
        name = option[2:].split("=")[0]
        assert f"comes after --{name} and sets it, too" in overridden([option, "-c", str(file)])
        assert overridden(["-c", str(file), option]) == ""
    assert overridden(["--trainer.precision=64-true", "-c", str(file)]) == ""
