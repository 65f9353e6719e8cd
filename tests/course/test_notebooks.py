"""The notebooks that are made from the course's pages."""

import re
from pathlib import Path

import pytest

pytest.importorskip("nbformat", reason="needs the extra notebooks")
pytest.importorskip("nbclient", reason="needs the extra notebooks")
pytest.importorskip("ipykernel", reason="needs the extra notebooks")

import nbformat

from course import notebooks, pages
from course.catalogue import read
from tests.conftest import ROOT
from tests.helpers.commands import bad

PAGES = pages.read()


def written(folder: Path) -> list[nbformat.NotebookNode]:
    return [nbformat.read(str(path), as_version=4) for path in sorted(folder.glob("*.ipynb"))]


def test_every_page_becomes_a_notebook(gpu_learning, workplace: Path) -> None:
    code, out, err = gpu_learning("lessons", "notebooks", "--out", "books")
    assert code == 0, err
    made = written(workplace / "books")
    assert len(made) == len(PAGES) == len(out.splitlines())
    for page, notebook in zip(PAGES, made, strict=True):
        nbformat.validate(notebook)
        code_cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        for source in code_cells:
            compile(source, page.path.name, "exec")
        texts = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        assert texts.startswith(f"# Step {page.step}: {page.title}")
        for section in page.sections:
            assert f"## {section}" in texts
        # Pictures are inside, and other pages are notebooks.
        assert texts.count("data:image/png;base64,") == len(page.images)
        assert not re.search(r"\]\(\d\d-[\w-]+\.md\)", texts)
        run = [block for block in page.blocks if notebooks.code_of(block)]
        lesson = page.step >= 4
        assert len(code_cells) == 1 + len(run) + lesson
        assert ("assert result.status" in code_cells[-1]) == lesson
        assert ("MNISTDataModule" in code_cells[-1]) == (page.step in (10, 12, 15, 16, 17))


def test_the_first_cell_has_the_pins_of_the_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    pins = notebooks.pins()
    assert set(pins) <= set(lock)
    names = {pin.partition("==")[0] for pin in pins}
    assert {"lightning", "onnx", "tokenizers", "fastapi"} <= names
    assert not names & {"torch", "torchvision", "pytest"}
    first = notebooks.build(PAGES[3], None, "a.whl", pins).cells[0].source
    assert '"a.whl"' in first.replace("'", '"')
    assert all(pin in first for pin in pins)


def test_notebooks_that_exist_stay(gpu_learning, workplace: Path) -> None:
    mine = workplace / "notebooks" / "04-tensors.ipynb"
    mine.parent.mkdir()
    mine.write_text("what I wrote")
    code, _, err = gpu_learning("lessons", "notebooks", "4")
    assert code == 1
    assert "--overwrite" in err
    assert mine.read_text() == "what I wrote"
    code, out, err = gpu_learning("lessons", "notebooks", "4", "5")
    assert code == 0
    assert "notebooks/04-tensors.ipynb is kept; --overwrite replaces it" in err
    assert out == "notebooks/05-devices.ipynb\n"
    assert mine.read_text() == "what I wrote"
    assert gpu_learning("lessons", "notebooks", "4", "--overwrite")[0] == 0
    assert nbformat.read(str(mine), as_version=4).cells


@pytest.mark.parametrize("out", ["file.md", "file.md/below"])
def test_out_is_a_folder(gpu_learning, workplace: Path, out: str) -> None:
    (workplace / "file.md").write_text("mine")
    code, said = bad(gpu_learning, "lessons", "notebooks", "4", "--out", out)
    assert code == 1
    assert said.endswith("file.md is a file; --out names a folder")


def test_unknown_page(gpu_learning) -> None:
    code, _, err = gpu_learning("lessons", "notebooks", "90")
    assert code == 1
    assert "there is no page of step '90'" in err


def outputs(notebook: nbformat.NotebookNode) -> str:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


@pytest.mark.slow
def test_execution(gpu_learning, workplace: Path) -> None:
    code, _, err = gpu_learning("lessons", "notebooks", "4", "--execute")
    assert code == 0, err
    (notebook,) = written(workplace / "notebooks")
    printed = outputs(notebook)
    assert "RuntimeError: The size of tensor a (3)" in printed
    assert "4  Tensors: pass" in printed


@pytest.mark.slow
@pytest.mark.parametrize(("step", "shown"), [("6", "41"), ("7", "[13.0, 15.0, 21.0]")])
def test_executed_lessons(gpu_learning, workplace: Path, step: str, shown: str) -> None:
    code, _, err = gpu_learning("lessons", "notebooks", step, "--execute")
    assert code == 0, err
    (notebook,) = written(workplace / "notebooks")
    assert shown in outputs(notebook)
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert bool(pictures) == (step == "7")
    # Data and logs are those of the folder in which the command was typed.
    assert (workplace / "logs" / "lessons").is_dir()


def figures(notebook: nbformat.NotebookNode) -> dict[str, tuple[str, str]]:
    """What the last cell's table says of each figure: ours, and whether it is as expected."""
    names = {figure.name for lesson in read() for figure in lesson.figures}
    found = {}
    for line in map(str.strip, outputs(notebook).splitlines()):
        cells = re.split(r"  +", line)
        # A long name is followed by a single blank.
        name = max((n for n in names if line.startswith(f"{n} ")), key=len, default="")
        if name and cells[-1] in ("pass", "fail", "skipped"):
            found[name] = (cells[-2], cells[-1])
    return found


@pytest.mark.slow
def test_an_executed_lesson_on_mnist(gpu_learning, workplace: Path) -> None:
    if not (ROOT / "data" / "MNIST" / "raw" / "t10k-images-idx3-ubyte").is_file():
        pytest.skip(f"MNIST is not in {ROOT / 'data'}")
    (workplace / "data").symlink_to(ROOT / "data")
    code, _, err = gpu_learning("lessons", "notebooks", "15", "--execute")
    assert code == 0, err
    found = figures(*written(workplace / "notebooks"))
    assert found["parameters trained"] == ("325", "pass")
    assert found["checkpoint names the backbone"] == ("yes", "pass")
    ours, status = found["test accuracy, mean of 3 seeds"]
    assert (float(ours) >= 0.9977, status) == (True, "pass")


@pytest.mark.slow
def test_executed_lessons_on_gpt2_offline(gpu_learning, workplace: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra llm")
    pytest.importorskip("peft", reason="needs the extra llm")
    code, _, err = gpu_learning("lessons", "notebooks", "23", "24", "--execute")
    assert code == 0, err
    writes, learns = map(figures, written(workplace / "notebooks"))
    assert writes["parameters"] == ("124,439,808", "pass")
    assert writes["offline: greedy tokens are transformers'"] == ("yes", "pass")
    bits = [float(writes[f"offline: bits per token at {t}"][0]) for t in (0.1, 0.8, 1.5)]
    assert bits == sorted(bits)
    assert learns["parameters trained"] == ("294,912", "pass")
    assert learns["parameters trained at rank 64"] == ("2,359,296", "pass")
    assert float(learns["offline: held-out loss, after / before"][0]) <= 0.9
    assert float(learns["offline: merged, difference"][0]) <= 1e-4
    assert {status for _, status in (writes | learns).values()} <= {"pass", "skipped"}


def test_a_cell_that_fails_fails_the_command(
    gpu_learning, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "# Step 4: Broken\n\nIdea.\n\n```python\nprint(1 / 0)\n```\n"
    broken = pages.Page(workplace / "04-broken.md", source)
    monkeypatch.setattr(pages, "read", lambda: [broken])
    code, _, err = gpu_learning("lessons", "notebooks", "4", "--execute")
    assert code == 1
    assert "04-broken.ipynb" in err
    assert "ZeroDivisionError" in err
    assert (workplace / "notebooks" / "04-broken.ipynb").is_file()
