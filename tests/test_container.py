"""The Dockerfile and the compose files, checked as far as they go without a container engine."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from scripts.cli import COMMANDS
from tests.conftest import ROOT

JSON = yaml.safe_load  # of which JSON is a part
TEXT = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
LINES = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
STEPS = [tuple(line.split(maxsplit=1)) for line in LINES]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVE = COMPOSE["services"]["serve"]
BOARD = COMPOSE["services"]["tensorboard"]


def steps(name: str) -> list[str]:
    return [rest for instruction, rest in STEPS if instruction == name]


def copied() -> list[str]:
    """Sources of the build context."""
    words = [shlex.split(rest)[:-1] for rest in steps("COPY")]
    return [source for sources in words if not sources[0].startswith("--") for source in sources]


def test_what_is_copied_exists_and_is_in_the_context() -> None:
    kept = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for source in copied():
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in kept, source
    assert kept == {source.split("/")[0] for source in copied()}


def test_all_that_an_installation_reads_is_copied() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer reads pyproject.toml")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = project["tool"]["setuptools"]["package-dir"]
    packages = project["tool"]["setuptools"]["packages"]
    needed = {folders.get(name, name.split(".")[0]) for name in packages}
    needed |= {"pyproject.toml", project["project"]["readme"]}
    needed |= set(project["project"]["license-files"])
    assert needed <= set(copied())
    extras = re.search(r"ARG EXTRAS=(\S+)", TEXT)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(project["project"]["optional-dependencies"])
    assert steps("ENTRYPOINT") == ['["gpu-learning"]']
    assert "gpu-learning" in project["project"]["scripts"]


def test_locks_are_copied() -> None:
    named = set(re.findall(r"requirements[\w-]*\.lock", (ROOT / "Dockerfile").read_text()))
    assert named == {path.name for path in ROOT.glob("requirements*.lock")}
    assert named <= set(copied())
    assert SERVE["build"]["args"]["LOCK"] == "${LOCK:-requirements.lock}"


def test_it_runs_as_a_user_that_it_makes() -> None:
    (user,) = steps("USER")
    assert int(user) > 0
    assert f"useradd --uid {user}" in TEXT
    assert LINES.index(f"USER {user}") < LINES.index(f"CMD {steps('CMD')[0]}")


@pytest.mark.parametrize("script", steps("RUN"), ids=lambda script: script.split()[0])
def test_steps_are_commands_of_a_shell(script: str) -> None:
    result = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_variant_that_there_is_not_is_refused() -> None:
    (script,) = (script for script in steps("RUN") if "VARIANT" in script)
    result = subprocess.run(
        ["sh", "-c", script], env={"VARIANT": "rocm"}, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (2, "VARIANT is cpu or cuda, not rocm\n")


@pytest.mark.parametrize("command", [JSON(steps("CMD")[0]), SERVE["command"]], ids=str)
def test_the_server_s_commands_parse(command: list[str]) -> None:
    from scripts.serve import _parser

    assert command[0] == "serve"
    assert command[0] in COMMANDS
    arguments = _parser().parse_args(command[1:])
    assert arguments.host == "0.0.0.0"
    (port,) = steps("EXPOSE")
    assert arguments.port == int(port)
    assert SERVE["ports"] == [f"127.0.0.1:{port}:{port}"]
    (home,) = steps("WORKDIR")[1:]
    assert SERVE["volumes"] == [f"./models:{home}/{arguments.models}:ro"]


@pytest.mark.filterwarnings("ignore:html5lib's sanitizer is deprecated:DeprecationWarning")
def test_tensorboard_s_command_parses() -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.program import TensorBoard

    board = TensorBoard()
    board.configure([*BOARD["entrypoint"], *BOARD["command"]])
    assert board.flags.host == "0.0.0.0"
    assert BOARD["ports"] == [f"127.0.0.1:{board.flags.port}:{board.flags.port}"]
    assert BOARD["volumes"] == [f"./{board.flags.logdir}:/srv/{board.flags.logdir}:ro"]
    (code,) = (word for word in BOARD["healthcheck"]["test"] if "urlopen" in word)
    assert f"http://127.0.0.1:{board.flags.port}/" in code
    assert BOARD["image"] == SERVE["image"]


def test_the_gpu_is_added_to_a_service_that_there_is() -> None:
    cuda = yaml.safe_load((ROOT / "compose.cuda.yaml").read_text())
    assert set(cuda["services"]) <= set(COMPOSE["services"])
    assert set(SERVE["build"]["args"]) <= {rest.split("=")[0] for rest in steps("ARG")}


@pytest.mark.slow
def test_the_health_check_tells_a_server_that_is_ready(workplace: Path) -> None:
    """The command of the image itself, with the port of a server that asks for a key."""
    pytest.importorskip("fastapi", reason="the extra [serve] is not installed")
    (check,) = steps("HEALTHCHECK")
    interpreter, *command = JSON(check.partition("CMD ")[2])
    assert interpreter == "python3"
    (url,) = re.findall(r"http://[^']+", command[1])
    assert urlsplit(url).port == int(steps("EXPOSE")[0])
    (workplace / "models").mkdir()
    key = workplace / "keys"
    key.write_text("a-key-of-many-characters\n")
    key.chmod(0o600)
    serve = [sys.executable, "-m", "scripts.cli", *JSON(steps("CMD")[0])[:-2], "--port=0"]
    with subprocess.Popen(
        [*serve, f"--api-key-file={key}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        served = process.stdout.readline().split(" on ")[1].split()[0]
        command[1] = command[1].replace("http://127.0.0.1:11434", served)
        healthy = subprocess.run([sys.executable, *command], capture_output=True)
        (workplace / "models").rename(workplace / "elsewhere")
        without = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        process.kill()
    ended = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert healthy.returncode == 0, healthy.stderr
    assert without.returncode == 1
    assert "503" in without.stderr
    assert ended.returncode == 1
    assert "refused" in ended.stderr
