"""Null for an argument that may not be."""

import re
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.helpers.commands import DIGITS, bad
from training.nulls import check_nulls


class Base:
    def __init__(self, size: int, seed: int | None = 0, free: Any = 1) -> None: ...


class Part(Base):
    def __init__(
        self,
        rate: float | int = 0.1,
        mode: Literal["min", "max"] = "min",
        shape: tuple[int, ...] = (1,),
        late: int = None,  # type: ignore[assignment]  # noqa: RUF013
        plain=3,
        **kwargs: Any,
    ) -> None: ...


def given(name: str) -> dict[str, Any]:
    part = {"class_path": f"{__name__}.Part", "init_args": {name: None}}
    return {"trainer": {"callbacks": [part]}}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rate", "float or int"),
        ("mode", "min or max"),
        ("shape", "tuple[int, ...]"),
        ("size", "int"),
    ],
)
def test_null_for_what_has_no_none_is_refused(name: str, expected: str) -> None:
    option = f"--trainer.callbacks.{name}"
    said = f"{option}: expected {expected}, got null; leave it out for its default"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        check_nulls(given(name), [option, "null"])


@pytest.mark.parametrize("name", ["late", "plain", "seed", "free", "unknown"])
def test_null_for_all_else_may_be(name: str) -> None:
    check_nulls(given(name))


def test_a_line_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("trainer:\n  callbacks:\n  - init_args:\n      rate: null\n")
    with pytest.raises(ValueError, match=rf"got null; leave it .* \({path}:4\)$"):
        check_nulls(given("rate"), ["-c", str(path)])


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--model.lr=null", "--model.lr: expected float, got null; leave it out for its default"),
        ("--data.batch_size=null", "--data.batch_size: expected int, got null; leave it out"),
        ("--trainer.val_check_interval=0", "--trainer.val_check_interval must be above 0, got 0"),
        ("--trainer.check_val_every_n_epoch=0", "check_val_every_n_epoch must be at least 1, got"),
        ("--trainer.gradient_clip_val=-1", "--trainer.gradient_clip_val must be at least 0, got"),
        ("--seed_everything=-3", "--seed_everything must be from 0 to 4294967295, got -3"),
    ],
)
def test_what_no_run_can_have_is_refused_before_it_begins(
    gpu_learning, workplace: Path, option: str, said: str
) -> None:
    assert said in bad(gpu_learning, *DIGITS, option)[1]
    assert not Path("logs").exists()
