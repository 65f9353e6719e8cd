from pathlib import Path

import pytest

from training.parser import explain


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Option 'lrr' is not accepted", "option 'lrr' is not accepted; did you mean 'lr'?"),
        ("Option 'zzz' is not accepted", "option 'zzz' is not accepted; it takes lr, trainer.x"),
        ("Subcommand 'fit' does not accept option 'trainr.x'", "there is no option 'trainr'"),
        ("Unrecognized arguments: --lrr=3", "there is no option 'lrr'; did you mean 'lr'?"),
        ("module 'json' has no attribute 'lods'", "json has no 'lods'; did you mean 'loads'?"),
        ("Parser key \"a\":\n  Expected a <class 'int'>", "a: expected int"),
        ("Expected a <class 'float'>. Got value: abc", "expected float, got abc"),
        ("the following arguments are required: fit.data, fit.model", "a model and its data are"),
        ("File does not exist: '/nowhere/a.yaml'", "there is no /nowhere/a.yaml, and no folder /n"),
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
    assert said == f"there is no {wrong}; did you mean digits_cnn.yaml?"
