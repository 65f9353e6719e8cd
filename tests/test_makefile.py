"""What a target does beyond a call, in a folder with a TensorBoard that prints its arguments."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture
def project(workplace: Path) -> Path:
    for name in ("pyproject.toml", "requirements.lock", "Makefile"):
        shutil.copyfile(ROOT / name, workplace / name)
    binaries = workplace / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "tensorboard").write_text('#!/bin/sh\necho tensorboard "$@"\n')
    (binaries / "tensorboard").chmod(0o755)
    (workplace / ".venv" / ".core-requirements").touch()
    return workplace


def make(*arguments: str) -> tuple[str, str]:
    done = subprocess.run(["make", "-s", *arguments], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_tensorboard_shows_one_experiment(project: Path) -> None:
    (project / "logs" / "digits_cnn").mkdir(parents=True)
    assert make("tensorboard", "RUNS=logs/digits_cnn") == (
        "tensorboard --logdir logs/digits_cnn\n",
        "",
    )
    said, _ = make("tensorboard", "RUNS=logs/digit_cnn")
    assert said == "tensorboard --logdir logs/digit_cnn\n"  # it may still be trained
    _, warned = make("tensorboard", "RUNS=logs/digit_cnn")
    assert warned == "there is no folder logs/digit_cnn yet; there is logs/digits_cnn\n"


def test_tensorboard_shows_all_runs_and_says_how_to_see_fewer(project: Path) -> None:
    said, warned = make("tensorboard")
    assert said.splitlines() == [
        "shows the runs of all experiments; of one: make tensorboard RUNS=logs/EXPERIMENT",
        "tensorboard --logdir logs",
    ]
    assert warned == "there is no folder logs yet\n"


def test_a_lock_is_there(project: Path) -> None:
    command = ["make", "-s", "setup", "LOCK=no.lock"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode != 0
    assert ended.stderr.startswith("there is no no.lock; there are ")
    assert "requirements.lock" in ended.stderr.splitlines()[0]


def test_extras_are_those_of_the_project(project: Path) -> None:
    uv = project / ".venv" / "bin" / "uv"
    uv.write_text('#!/bin/sh\necho uv "$@"\n')
    uv.chmod(0o755)
    stamps = project / ".venv"
    (stamps / ".extras-requirements-dev-foo").touch()  # from before they were checked
    for wrong in ("foo", "dev,foo", "dev,foo,bar"):
        command = ["make", "-s", "setup", f"EXTRAS={wrong}"]
        ended = subprocess.run(command, capture_output=True, text=True)
        assert ended.returncode != 0
        assert ended.stderr.startswith("there is no extra foo; there are clients, dev, executorch,")
        assert ", sweep\n" in ended.stderr
        assert not ended.stdout
    assert not (stamps / ".extras-requirements-foo").exists()
    said, warned = make("setup", "EXTRAS=dev,notebooks")
    assert said.endswith("--editable .[dev,notebooks]\n")
    assert not warned
    assert (stamps / ".extras-requirements-dev-notebooks").is_file()
    assert make("setup", "EXTRAS=dev,notebooks") == ("", "")


def test_the_extras_of_setup_exist(project: Path) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer reads pyproject.toml")
    Path("shown.mk").write_text("include Makefile\nshown:\n\t@echo '$(known):$(unknown)'\n")
    known, _, unknown = make("-f", "shown.mk", "shown")[0].partition(":")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert known.split() == list(declared["optional-dependencies"])
    assert not unknown.strip()
