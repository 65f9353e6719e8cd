"""``gpu-learning new``: what it writes and refuses; docs/your-own.md, command by command."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.new import PLACEHOLDER, TEMPLATE
from tests.conftest import ROOT
from tests.helpers.commands import bad

PAGE = (ROOT / "docs" / "your-own.md").read_text()
LINES = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.strip().splitlines()
]


def test_every_file_has_the_name(gpu_learning, workplace: Path) -> None:
    code, out, err = gpu_learning("new", "reader")
    assert code == 0, err
    written = {
        path.relative_to(workplace / "reader")
        for path in Path("reader").resolve().rglob("*")
        if path.is_file()
    }
    assert {str(path) for path in written} == {
        *("pyproject.toml", "README.md", ".gitignore", "configs/reader.yaml"),
        *("reader/__init__.py", "reader/net.py", "reader/module.py", "reader/data.py"),
        "tests/test_reader.py",
    }
    for path in written:
        text = (workplace / "reader" / path).read_text()
        assert PLACEHOLDER not in text, path
        if path.suffix == ".py":
            compile(text, str(path), "exec")
    assert out.splitlines()[:2] == ["cd reader", "gpu-learning fit -c configs/reader.yaml"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *[(name, "Python can import") for name in ("my-net", "2nets", "", "class", "a.b", "../x")],
        *[(name, "pip can install") for name in ("_net", "net_", "nётz")],
        *[(name, "installed already") for name in ("torch", "json", "callbacks", "lightning")],
        *[(name, "within the project") for name in ("tests", "logs", "models", "data", "configs")],
    ],
)
def test_a_name_that_cannot_be(name: str, said: str, gpu_learning, workplace: Path) -> None:
    before = set(workplace.iterdir())
    assert said in bad(gpu_learning, "new", name)[1]
    assert set(workplace.iterdir()) == before


def test_a_folder_that_exists_is_left_alone(gpu_learning, workplace: Path) -> None:
    Path("reader").mkdir()
    assert "reader exists already" in bad(gpu_learning, "new", "reader")[1]
    assert not list(Path("reader").iterdir())
    Path("notes").write_text("mine")
    assert "notes exists already" in bad(gpu_learning, "new", "notes")[1]
    assert Path("notes").read_text() == "mine"


def test_the_template_is_installed_with_the_command() -> None:
    assert (TEMPLATE / PLACEHOLDER / "__init__.py").is_file()
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer reads pyproject.toml")
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = setup["package-data"]["scripts"]
    installed = {path for pattern in patterns for path in (ROOT / "scripts").glob(pattern)}
    assert {path for path in TEMPLATE.rglob("*") if path.is_file()} <= installed


def children_seconds() -> float:
    """Seconds that a processor has worked for processes that have ended; others do not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
def test_from_nothing_to_a_served_model(workplace: Path) -> None:
    """Every command of docs/your-own.md, as it stands there; five minutes of one core at most."""
    for package in ("fastapi", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extras export and serve")
    command = Path(sys.executable).with_name("gpu-learning")
    if not command.is_file() or shutil.which("curl") is None:
        pytest.skip("needs gpu-learning installed, and curl")
    here = dict(os.environ, PATH=f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    here["PYTHONWARNINGS"] = "ignore"
    folder, server, url, said = workplace, None, "", {}
    before = children_seconds()
    served = None
    try:
        for line in LINES:
            if line.startswith("cd "):
                folder /= line.removeprefix("cd ")
                continue
            if " serve " in line:
                server = subprocess.Popen(
                    ["bash", "-c", f"exec {line} --port 0"],
                    cwd=folder, env=here, stdout=subprocess.PIPE, text=True,
                )  # fmt: skip
                assert server.stdout is not None
                url = server.stdout.readline().split(" on ")[1].split()[0]
                continue
            typed = line.replace("http://127.0.0.1:11434", url)
            ended = subprocess.run(
                ["bash", "-c", typed], cwd=folder, env=here, capture_output=True, text=True
            )
            assert ended.returncode == 0, f"{line}\n{ended.stdout}\n{ended.stderr}"
            said[line] = ended.stdout
            if line.startswith("curl "):
                served = children_seconds() - before
    finally:
        if server is not None:
            server.kill()
            server.communicate()
    assert served is not None
    assert served < 300
    classified = next(text for line, text in said.items() if " classify " in line)
    answered = next(text for line, text in said.items() if line.startswith("curl "))
    assert json.loads(classified)["label"] == "7"
    assert json.loads(answered)["results"][0]["label"] == "7"
    accuracy = re.search(
        r"test/acc\W+(0\.\d+|1\.0)", next(t for li, t in said.items() if " test " in li)
    )
    assert accuracy is not None
    assert float(accuracy[1]) > 0.9
    explained = next(text for line, text in said.items() if " explain " in line)
    assert "command line, instead of 10 from configs/reader.yaml" in explained
    assert '"reader.Classifier"' in (folder / "configs" / "schema.json").read_text()
