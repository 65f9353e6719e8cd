"""Every command that the README shows is run, or, where it installs, checked as far as it goes."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from scripts.cli import COMMANDS
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", README, flags=re.DOTALL)
LINES = [
    line.removeprefix(".venv/bin/")
    for language, block in BLOCKS
    if language == "bash"
    for line in block.strip().splitlines()
]
OURS = [line for line in LINES if line.startswith("gpu-learning")]
# One step shows that a command is right; the full runs have tests of their own.
SHORT = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=3", "--trainer.accelerator=cpu")


# The block that goes from a run to an artifact and on is run as a whole.
CHAIN = OURS[next(i for i, line in enumerate(OURS) if " export " in line) :]


@pytest.mark.parametrize(
    "line", [line for line in OURS if "lessons" not in line and line not in CHAIN]
)
def test_command_runs(line: str, gpu_learning, small_mnist: Path) -> None:
    arguments = shlex.split(line)[1:]
    config = next((arguments[i + 1] for i, a in enumerate(arguments) if a == "-c"), None)
    if (config and arguments[0] != "fit") or "--ckpt_path" in arguments:
        gpu_learning("fit", "-c", config, *SHORT)
    if arguments[0] == "fit":
        arguments += SHORT
    if config == "configs/mnist_cnn.yaml":
        arguments.append("--data.init_args.val_size=100")
    code, _, err = gpu_learning(*arguments)
    assert code == 0, err


def serve_and_ask(arguments: list[str]) -> None:
    """Serves on a free port, asks for the list of models, and ends it by Ctrl-C."""
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    code = "import sys; from scripts.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments, "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split(" on ")[1].split()[0]
        with urllib.request.urlopen(f"{url}/api/tags") as answer:
            names = {model["name"] for model in json.load(answer)["models"]}
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    assert names == {"digits_cnn:latest", "mini_gpt:latest"}


@pytest.mark.slow
def test_artifacts_are_made_and_used(gpu_learning, workplace: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra export")
    pytest.importorskip("tokenizers", reason="needs the extra llm")
    images = load_digits().images
    Image.fromarray((images[7] * 15.9).astype("uint8")).save(workplace / "seven.png")
    gpu_learning("fit", "-c", "configs/digits_cnn.yaml", "--trainer.max_epochs=3")
    for line in CHAIN:
        arguments = shlex.split(line)[1:]
        if arguments[0] == "serve":
            serve_and_ask(arguments)
            continue
        code, out, err = gpu_learning(
            *arguments,
        )
        assert code == 0, err
    assert "the cat" in out


def test_lessons_are_named_as_they_are(gpu_learning) -> None:
    assert gpu_learning("lessons")[0] == 0
    for line in OURS:
        if line.startswith("gpu-learning lessons"):
            assert line.split()[2:3] in ([], ["run"], ["verify"])


def test_make_targets_exist() -> None:
    for line in LINES:
        if line.startswith("make "):
            subprocess.run(["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, check=True)


def test_every_line_is_known() -> None:
    known = ("gpu-learning ", "make ", "uv ", "python3 -m venv", "python -m pip ")
    assert all(line.startswith(known) for line in LINES)
    assert {line.split()[1] for line in OURS} <= set(COMMANDS)


def test_files_named_exist() -> None:
    for name in re.findall(r"`((?:configs|docs|requirements)[\w./-]+\.(?:yaml|md|lock))`", README):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"\]\((docs/[\w.]+)\)", README):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"requirements[\w-]*\.lock", README):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("code", [block for language, block in BLOCKS if language == "python"])
def test_python_example_runs(code: str, workplace: Path) -> None:
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
