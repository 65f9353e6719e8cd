"""Notebooks made from the pages of the course: ``gpu-learning lessons notebooks``."""

import base64
import subprocess
import textwrap
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from packaging.requirements import Requirement

from course.catalogue import Lesson
from course.pages import ROOT, Block, Page

EXTRAS = ("export", "kernels", "llm", "serve")
# A hosted machine has them already, built for its driver.
HOSTED = {"torch", "torchvision", "triton"}

INSTALL = """\
# Installs the project and the versions it was tested with, unless it is here already.
import importlib.util
import subprocess
import sys

PACKAGES = [
{packages}
]
if importlib.util.find_spec("course") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
"""

RAISES = """\
try:
{code}
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}")
else:
    raise AssertionError("this cell shows an error, and there was none")
"""

RUN = """\
# The lesson itself, as `gpu-learning lessons verify {step}`: its figures must be as expected.
import os
from pathlib import Path

from IPython.display import Image, display

from course.catalogue import find, read
from course.runner import lines, run_lesson

if not Path("data").is_dir() and Path("../data").is_dir():
    os.chdir("..")  # a notebook in a folder of the clone, whose data are beside that folder
{data}result = run_lesson(find(read(), "{step}"), Path("logs/lessons"), reduced=True, silent=True)
print("\\n".join(lines(result)))
for picture in sorted(Path("logs/lessons/{slug}").glob("*.png")):
    display(Image(picture))
# A lesson is skipped where this machine lacks what it needs; the reason is printed above.
assert result.status in ("pass", "skipped"), result.reason
"""

MNIST = """\
from datamodules import MNISTDataModule

try:
    MNISTDataModule().prepare_data()  # 11 MB, unless they are here already
except ValueError as error:  # no network
    print(error)
"""


def build(page: Page, lesson: Lesson | None, project: str, pins: list[str]) -> NotebookNode:
    """The page as a notebook without outputs.

    Args:
        page: which one.
        lesson: what the last cell runs; None for a page without a lesson.
        project: what pip installs this project from.
        pins: packages with versions that are installed with it.
    """
    packages = "\n".join(f"    {package!r}," for package in [project, *pins])
    cells = [new_code_cell(INSTALL.format(packages=packages))]
    lines, written = page.source.splitlines(), 0
    for block in page.blocks:
        code = code_of(block)
        if not code:
            continue
        shown = block.lines[1] if block.quote else block.lines[0]
        cells += _markdown(lines[written:shown], page)
        cells.append(new_code_cell(code.strip()))
        written = block.lines[1]
    cells += _markdown(lines[written:], page)
    if lesson:
        data = MNIST if any(name.startswith("configs/mnist") for name in lesson.configs) else ""
        run = RUN.format(step=lesson.step, slug=lesson.slug, data=data)
        cells.append(new_code_cell(run.strip()))
    for number, cell in enumerate(cells):
        cell.id = f"{page.path.stem}-{number}"  # nbformat's own are random
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata: dict[str, Any] = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return new_notebook(cells=cells, metadata=metadata)


def code_of(block: Block) -> str:
    """What a cell runs for a block of the page; nothing for one that is only read.

    Of a quotation, which is shown above the cell, it is the import. Code that is said to raise
    prints its exception, so that "run all" continues everywhere.
    """
    if block.language != "python" or block.shown_because:
        return ""
    code = block.code
    return RAISES.format(code=textwrap.indent(code, "    ").rstrip()) if block.raises else code


def _markdown(lines: list[str], page: Page) -> list[NotebookNode]:
    text = "\n".join(lines).strip()
    for address in page.images:
        data = base64.b64encode((page.path.parent / address).read_bytes()).decode()
        text = text.replace(f"]({address})", f"](data:image/png;base64,{data})")
    for address in page.links:
        if (page.path.parent / address).suffix == ".md" and "/" not in address:
            text = text.replace(f"]({address})", f"]({address.removesuffix('.md')}.ipynb)")
    return [new_markdown_cell(text)] if text else []


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Runs all cells in ``folder``, with this Python, and keeps what they print.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    from nbclient import NotebookClient

    resources = {"metadata": {"path": str(folder)}}
    # The kernel warns that its sockets are not encrypted; they are those of this machine.
    quiet = ["--log-level=ERROR"]
    client = NotebookClient(
        notebook,
        timeout=1200,
        kernel_name="python3",
        resources=resources,
        extra_arguments=quiet,
    )
    client.execute()


def write(notebook: NotebookNode, path: Path) -> None:
    nbformat.validate(notebook)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def this_project(root: Path = ROOT) -> str:
    """The requirement by which pip finds this checkout: its remote at its commit, or its folder."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True).stdout.strip()
        except OSError:
            return ""

    remote, commit = git("config", "--get", "remote.origin.url"), git("rev-parse", "HEAD")
    address = f"git+{remote}@{commit}" if remote.startswith("https://") else root.as_uri()
    return f"gpu-learning[{','.join(EXTRAS)}] @ {address}"


def pins(lock: Path = ROOT / "requirements.lock") -> list[str]:
    """Lines of the lock for what the project names itself, but torch.

    Raises:
        ValueError: the lock is not there, as in an installed wheel.
    """
    if not lock.is_file():
        raise ValueError(f"{lock} is missing; notebooks are made in a clone of the repository")
    named = set()
    for requirement in map(Requirement, requires("gpu-learning") or []):
        extras = [{"extra": extra} for extra in ("", *EXTRAS)]
        if not requirement.marker or any(map(requirement.marker.evaluate, extras)):
            named.add(requirement.name)
    lines = [line for line in lock.read_text().splitlines() if line and line[0] not in "#-"]
    return [line for line in lines if line.partition("==")[0] in named - HOSTED]
