import re
from pathlib import Path

import pytest

from training.checkpoint_names import check_ckpt_path, check_is_there, check_source


@pytest.fixture
def logs(workplace: Path) -> Path:
    for name in ("digits_cnn/version_0", "mini_gpt/version_0"):
        folder = workplace / "logs" / name / "checkpoints"
        folder.mkdir(parents=True)
        (folder / "best.ckpt").touch()
    return Path("logs")


@pytest.mark.parametrize("typed", [["--ckpt_path", "lsat"], ["--ckpt_path=lsat"]])
def test_a_mistyped_last_is_answered_by_it(typed: list[str], workplace: Path) -> None:
    with pytest.raises(ValueError, match=r"not a file; did you mean --ckpt_path last\?"):
        check_ckpt_path(["test", *typed])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("bset", "did you mean --ckpt_path best?"),
        ("logs/digits_cnn/version_0", "did you mean logs/digits_cnn/version_0/checkpoints/best."),
        ("logs/digits_cnn/version_0/best.ckpt", "did you mean logs/digits_cnn/version_0/check"),
        ("logs/mini_gpt/version_0/checkpoints/bst.ckpt", "checkpoints/best.ckpt?"),
        ("logs/mini_gp/version_0/checkpoints/best.ckpt", "did you mean logs/mini_gpt/version_0/c"),
        ("log/digit_cnn/version_1/checkpoint/bst.ckpt", "did you mean logs/digits_cnn/version_0/"),
        ("nowhere.ckpt", "name a file, or last or best"),
    ],
)
def test_what_is_not_there_is_answered_by_what_is(name: str, meant: str, logs: Path) -> None:
    start = f"the checkpoint {name} does not exist, or is not a file; "
    with pytest.raises(ValueError, match=f"^{re.escape(start)}.*{re.escape(meant)}"):
        check_is_there(Path(name))


@pytest.mark.parametrize("name", ["last", "best", "null", "logs/digits_cnn/version_0/checkpoints/"])
def test_names_and_files_pass(name: str, logs: Path) -> None:
    check_ckpt_path(["test", "--ckpt_path", name + "best.ckpt" * name.endswith("/")])
    check_ckpt_path(["test", "-c", "configs/digits_cnn.yaml"])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("logs/digits", "there is no logs/digits; did you mean logs/digits_cnn?"),
        ("logs/gpt", "there is no logs/gpt; did you mean logs/mini_gpt?"),
        ("logs/digits_cn/version_0", "there is no logs/digits_cn/version_0; did you mean logs/d"),
        (
            "logs/mini_gpt/version_0/checkpoints/bst.ckpt",
            "there is no logs/mini_gpt/version_0/checkpoints/bst.ckpt; did you mean logs/mini",
        ),
        ("logs/words", "logs/words is not a checkpoint and has no best.ckpt under it; name a"),
        ("logs", "logs holds experiments; name the one to export: logs/digits_cnn, logs/mini_gpt"),
        ("empty", "empty is not a checkpoint and has no best.ckpt under it"),
    ],
)
def test_a_source_of_an_export(source: str, said: str, logs: Path) -> None:
    Path("empty").mkdir()
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        check_source(Path(source))
    for below in ("", "version_0", "version_0/checkpoints", "version_0/checkpoints/best.ckpt"):
        check_source(Path("logs/digits_cnn", below))
