"""Every command that the README shows is run, or, where it installs, checked as far as it goes."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from scripts.cli import COMMANDS
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
TRAINING = (ROOT / "docs" / "training.md").read_text()
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", README, flags=re.DOTALL)


def commands(blocks: list[tuple[str, str]]) -> list[str]:
    return [
        line.removeprefix(".venv/bin/")
        for language, block in blocks
        if language == "bash"
        for line in block.replace("\\\n", " ").strip().splitlines()
    ]


LINES = commands(BLOCKS)
OURS = [line for line in LINES if line.startswith("gpu-learning")]
# One step shows that a command is right; the full runs have tests of their own.
SHORT = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=3")


# What talks to the server runs while the server does.
SERVED = list(dict.fromkeys(line for line in OURS if line.split()[1] in ("serve", "chat")))
# The block that goes from a run to an artifact and on is run as a whole.
FROM_EXPORT = OURS[next(i for i, line in enumerate(OURS) if " export " in line) :]
CHAIN = [line for line in FROM_EXPORT if line not in SERVED]


SECTION = README.partition("## Train, test, watch")[2].partition("\n## ")[0]
IN_ORDER = commands(re.findall(r"```(bash)\n(.*?)```", SECTION, flags=re.DOTALL))


@pytest.mark.slow
def test_training_commands_in_their_order(gpu_learning, small_mnist: Path, device: str) -> None:
    """Each after the others, with as many epochs as it says, so that a schedule is as long."""
    for line in IN_ORDER:
        arguments = shlex.split(line)[1:]
        if arguments[0] == "fit":
            arguments.append("--trainer.limit_train_batches=3")
        if "configs/mnist_cnn.yaml" in arguments:
            arguments.append("--data.init_args.val_size=100")
        code, out, err = gpu_learning(*arguments)
        assert code == 0, (line, err)
        assert ("no step was left to train" in out) == ("--ckpt_path" in line)
    # After a run of fewer epochs the newest one is another; the error says what resumes that.
    short = [*shlex.split(IN_ORDER[0])[1:], "--trainer.limit_train_batches=3"]
    assert gpu_learning(*short, "--trainer.max_epochs=5")[0] == 0
    code, _, err = gpu_learning(*short, "--ckpt_path=last")
    assert code == 1
    typed = err.rpartition(": fit ")[2].split()
    assert gpu_learning("fit", *typed)[0] == 0, typed


@pytest.mark.parametrize(
    "line", [line for line in OURS if "lessons" not in line and line not in CHAIN + SERVED]
)
def test_command_runs(line: str, gpu_learning, small_mnist: Path, device: str) -> None:
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


@pytest.mark.slow
def test_artifacts_are_made_and_used(gpu_learning, workplace: Path, device: str) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra export")
    pytest.importorskip("tokenizers", reason="needs the extra llm")
    images = load_digits().images
    (workplace / "logs" / "demo").mkdir(parents=True)
    seven = workplace / "logs" / "demo" / "seven.png"
    Image.fromarray((images[7] * 15.9).astype("uint8")).save(seven)
    gpu_learning("fit", "-c", "configs/digits_cnn.yaml", "--trainer.max_epochs=3")
    for line in CHAIN:
        arguments = shlex.split(line)[1:]
        if arguments[0] == "fit":
            arguments.append("--trainer.max_epochs=2")
        code, out, err = gpu_learning(*arguments)
        assert code == 0, err
    assert "the cat" in out


@pytest.mark.slow
def test_server_and_chat(
    gpu_learning, workplace: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    from tests.serving.live import models_folder, serving

    start, *talks = SERVED
    models_folder(workplace)
    with serving(*map(Path, shlex.split(start)[2:])) as (url, _):
        monkeypatch.setenv("OLLAMA_HOST", url)
        assert talks
        for line in talks:
            code, out, err = gpu_learning(*shlex.split(line)[1:], "--num-predict=20")
            assert code == 0, err
            assert len(out) > 20


def test_lessons_are_named_as_they_are(gpu_learning) -> None:
    assert gpu_learning("lessons")[0] == 0
    for line in OURS:
        if line.startswith("gpu-learning lessons"):
            action = line.split()[2:3]
            assert not action or gpu_learning("lessons", *action, "--help")[0] == 0


def test_make_targets_exist() -> None:
    for line in LINES:
        if line.startswith("make "):
            subprocess.run(["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, check=True)


def test_every_line_is_known() -> None:
    known = ("gpu-learning ", "make ", "uv ", "python3 -m venv", "python -m pip ", "sudo dnf ")
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
def test_python_example_runs(code: str, workplace: Path, device: str) -> None:
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


def test_loggers_of_the_page_of_training_are_parsed(gpu_learning, workplace: Path) -> None:
    """W&B is not installed here, so its part is left out; the list is as the page has it."""
    yaml = re.findall(r"```yaml\n(# wandb.yaml\n.*?)```", TRAINING, flags=re.DOTALL)[0]
    yaml = yaml.replace("WandbLogger", "CSVLogger").replace("project: gpu-learning, ", "")
    (workplace / "csv.yaml").write_text(yaml.replace(", offline: true", ""))
    code, _, err = gpu_learning("fit", "-c", "configs/digits_cnn.yaml", "-c", "csv.yaml", *SHORT)
    assert code == 0, err
    assert len(list((workplace / "logs" / "digits_cnn").rglob("metrics.csv"))) == 1
    assert len(list((workplace / "logs" / "digits_cnn").rglob("events.*"))) >= 1


@pytest.mark.slow
def test_a_run_stops_early_as_the_page_of_training_says(gpu_learning, workplace: Path) -> None:
    """The YAML file of the page, and the same typed."""
    yaml = re.findall(r"```yaml\n(# early.yaml\n.*?)```", TRAINING, flags=re.DOTALL)
    (workplace / "early.yaml").write_text(yaml[0])
    lines = commands(re.findall(r"```(bash)\n(.*?)```", TRAINING, flags=re.DOTALL))
    runs = [shlex.split(line)[1:] for line in lines if "early.yaml" in line or "Early" in line]
    assert len(runs) == 2
    for arguments in runs:
        code, out, err = gpu_learning(*arguments)
        assert code == 0, err
        epochs = re.findall(r"epoch (\d+)/100 ", out)
        assert 5 < int(epochs[-1]) < 100
