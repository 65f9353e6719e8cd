"""docs/course.md says what the lessons are, and its commands run."""

import re
import shlex

import pytest

from course.catalogue import read
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "course.md").read_text()
FITS = [line for line in PAGE.splitlines() if line.startswith("gpu-learning fit")]


def test_every_step_has_its_row() -> None:
    table = PAGE[PAGE.index("| step |") :].partition("\n\n")[0]
    rows = [re.split(r" *\| *", line)[1:-1] for line in table.splitlines()]
    listed = {row[0]: (row[1], row[3]) for row in rows[2:]}
    for lesson in read():
        title, configs = listed.pop(str(lesson.step))
        assert title == lesson.title
        assert [f"configs/{name}" for name in re.findall(r"`(.*?)`", configs)] == list(
            lesson.configs
        )
    assert not listed


@pytest.mark.slow
@pytest.mark.parametrize("line", FITS)
def test_exercises_run(line: str, gpu_learning, device: str) -> None:
    # As many as a warm-up of the learning rate takes, and a few more.
    short = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=60")
    code, _, err = gpu_learning(*shlex.split(line)[1:], *short)
    assert code == 0, err
