import pytest

from scripts.parser import explain


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Option 'lrr' is not accepted", "option 'lrr' is not accepted; did you mean 'lr'?"),
        ("Option 'zzz' is not accepted", "option 'zzz' is not accepted; it takes lr, trainer.x"),
        ("Subcommand 'fit' does not accept option 'trainr.x'", "there is no option 'trainr'"),
        ("Unrecognized arguments: --lrr=3", "there is no option 'lrr'; did you mean 'lr'?"),
        ("module 'json' has no attribute 'lods'", "json has no 'lods'; did you mean 'loads'?"),
        ("Parser key \"a\":\n  Expected a <class 'int'>", "a: Expected a <class 'int'>"),
        ("something else", "something else"),
    ],
)
def test_one_sentence(message: str, expected: str) -> None:
    said = explain(message, ["lr", "trainer.x", "help"])
    assert said.startswith(expected)
    assert "\n" not in said
