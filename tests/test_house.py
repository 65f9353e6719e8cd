"""The rules that hold the house together, checked on the source."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Each package and what it may import of the others; scripts/ sits on top of all.
FLOW = {
    # Training frames image files by the functions that later frame those of users.
    "datamodules": {"inference"},
    "lightning_modules": {"datamodules"},
    # The samples of a language model in training come from the one sampler there is.
    "callbacks": {"datamodules", "exporting", "inference", "lightning_modules"},
    "exporting": {"datamodules", "inference", "lightning_modules"},
    "inference": {"lightning_modules"},  # the nets alone, see below
    "serving": {"inference"},
    "training": {"callbacks", "datamodules", "lightning_modules"},
    "course": {
        "callbacks",
        "datamodules",
        "exporting",
        "inference",
        "lightning_modules",
        "serving",
        "training",
    },
    "scripts": {
        "course",
        "callbacks",
        "datamodules",
        "exporting",
        "inference",
        "lightning_modules",
        "serving",
        "training",
    },
}


def imports(path: Path) -> set[str]:
    return imports_of(ast.walk(ast.parse(path.read_text())))


def imports_of(nodes: Iterable[ast.AST]) -> set[str]:
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_the_table_of_imports_knows_every_package() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - {"configs", "tests"} == set(FLOW)


@pytest.mark.parametrize("room", FLOW)
def test_imports_flow_one_way(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        others = imports(path) & (set(FLOW) - {room})
        assert others <= FLOW[room], f"{path.relative_to(ROOT)} imports {others - FLOW[room]}"


def test_nets_need_torch_alone() -> None:
    for path in (ROOT / "lightning_modules" / "nets").glob("*.py"):
        assert not imports(path) & {"lightning", "torchmetrics", "pytorch_lightning"}, path


def test_artifacts_are_used_without_lightning() -> None:
    for room in ("inference", "serving"):
        for path in (ROOT / room).rglob("*.py"):
            assert not imports(path) & {"lightning", "pytorch_lightning"}, path
            for node in ast.walk(ast.parse(path.read_text())):
                ours = isinstance(node, ast.ImportFrom) and (node.module or "")
                if ours and ours.startswith("lightning_modules"):
                    assert ours.startswith("lightning_modules.nets."), path


def test_a_language_model_is_read_without_lightning() -> None:
    code = (
        "import sys; sys.modules['lightning'] = sys.modules['torchmetrics'] = None; "
        "import inference.text.generate, inference.text.gguf_weights"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_wire_of_the_server_needs_neither_torch_nor_numpy() -> None:
    """What is served is decided by files that import nothing heavy, so the server starts fast."""
    for path in (ROOT / "serving").rglob("*.py"):
        tree = ast.parse(path.read_text())
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        named = imports_of(top)
        assert not named & {"torch", "numpy", "onnxruntime", "transformers"}, path
        assert not imports(path) & {"datamodules", "lightning_modules", "callbacks", "exporting"}, (
            path
        )


def test_the_server_is_put_together_without_heavy_imports() -> None:
    pytest.importorskip("fastapi", reason="the extra [serve] is not installed")
    code = (
        "import sys; import scripts.serve, serving.server; "
        "heavy = {'torch', 'lightning', 'onnxruntime'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("argument", ["--help", "--version", "nonsense"])
def test_the_command_answers_without_heavy_imports(argument: str) -> None:
    code = (
        "import sys; from scripts.cli import main; main([sys.argv[1]]); "
        "heavy = {'torch', 'lightning', 'transformers', 'matplotlib'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, argument], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_doctor_does_not_import_lightning() -> None:
    parts = ("doctor", "doctor_gpu", "finding")
    found = set().union(*(imports(ROOT / "scripts" / f"{part}.py") for part in parts))
    assert not found & {"lightning", "transformers", "pytorch_lightning"}


def test_every_package_is_installed_with_the_project() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer reads pyproject.toml")
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    for path in ROOT.glob("[a-z]*/**/__init__.py"):
        if "new_project" in path.parts:  # what gpu-learning new writes, which is data here
            continue
        package = ".".join(path.parent.relative_to(ROOT).parts)
        if package.split(".")[0] in FLOW:
            assert package in listed


def test_every_data_file_is_installed_with_its_package() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer reads pyproject.toml")
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    installed = {
        path
        for package, patterns in setup["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    for room in {package.split(".")[0] for package in setup["packages"]}:
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                assert path in installed, path.relative_to(ROOT)


@pytest.mark.parametrize(
    "path",
    [path for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"],
    ids=lambda path: path.stem,
)
def test_no_test_chooses_a_device_itself(path: Path) -> None:
    """A Trainer put on the CPU warns on a machine with a GPU; the fixture ``device`` decides."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            assert name != "Trainer", f"line {node.lineno}: use tests.conftest.quiet_trainer"
        if isinstance(node, ast.keyword):
            assert node.arg != "accelerator", f"line {node.value.lineno}: use the fixture device"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = re.search(r"accelerator[= ](cpu|cuda)", node.value)
            assert not found, f"line {node.lineno}: use the fixture device"
