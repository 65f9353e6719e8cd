"""What a command says while torch is imported."""

import subprocess
import sys

import pytest

from scripts.waiting import SENTENCE
from tests.conftest import ROOT


def answered(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = f"import os; os.environ.update({environment}); from scripts.cli import main; main()"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_import_of_torch_is_announced_once_on_standard_error() -> None:
    ended = answered("fit", "--help")
    assert ended.stderr == f"{SENTENCE}\n"
    assert ended.stdout.startswith("usage: -c [options] fit [-c CONFIG]")  # by python -c


def test_the_second_of_several_processes_says_nothing() -> None:
    assert answered("fit", "--help", LOCAL_RANK="1").stderr == ""


@pytest.mark.parametrize("command", ["export", "generate", "import", "lessons"])
def test_what_does_not_import_torch_says_nothing(command: str) -> None:
    assert answered(command, "--help").stderr == ""
