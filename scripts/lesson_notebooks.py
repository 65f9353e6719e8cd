"""``gpu-learning lessons notebooks``: the pages of the course as Jupyter notebooks."""

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

from course import pages
from course.catalogue import Lesson


def add_parser(actions: Any) -> None:
    parser = actions.add_parser("notebooks", help="write the course's pages as Jupyter notebooks")
    parser.add_argument("steps", nargs="*", help="steps or names; all of them if none is given")
    parser.add_argument("--out", default="notebooks", help="folder of the notebooks")
    parser.add_argument("--execute", action="store_true", help="run them and keep the outputs")
    parser.add_argument("--overwrite", action="store_true", help="replace notebooks that exist")
    parser.add_argument(
        "--project",
        help="what the first cell installs: a wheel's file, a folder or git+https://...",
    )


def main(arguments: argparse.Namespace, lessons: list[Lesson]) -> int:
    """Writes those that do not exist; with ``--execute`` the first that fails ends the command.

    Raises:
        ValueError: a package or a page is missing, the folder is a file, the only notebook asked
            for exists already, or a cell failed.
    """
    folder = Path(arguments.out)
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not above.is_dir():
        raise ValueError(f"{above} is a file; --out names a folder")
    missing = [
        name for name in ("nbformat", "nbclient", "ipykernel") if not importlib.util.find_spec(name)
    ]
    if missing:
        raise ValueError(f"needs {', '.join(missing)}: make setup EXTRAS=dev,notebooks")
    from nbclient.exceptions import CellExecutionError

    from course import notebooks

    chosen = [_page(step) for step in arguments.steps] or pages.read()
    targets = [folder / f"{page.path.stem}.ipynb" for page in chosen]
    existing = [target for target in targets if target.exists()]
    kept = [] if arguments.overwrite else existing
    if kept and len(arguments.steps) == 1:
        raise ValueError(f"{kept[0]} exists; --overwrite replaces it, --out names another folder")
    project, pins = arguments.project or notebooks.this_project(), notebooks.pins()
    by_step = {lesson.step: lesson for lesson in lessons}
    for page, target in zip(chosen, targets, strict=True):
        if target in kept:
            print(f"{target} is kept; --overwrite replaces it", file=sys.stderr, flush=True)
            continue
        notebook = notebooks.build(page, by_step.get(page.step), project, pins)
        notebooks.write(notebook, target)
        if arguments.execute:
            try:
                notebooks.execute(notebook, Path.cwd())
            except CellExecutionError as error:
                raise ValueError(f"{target}: {error}") from error
            finally:  # what was printed before a failure tells what failed
                notebooks.write(notebook, target)
        print(target, flush=True)
    return 0


def _page(asked: str) -> pages.Page:
    found = pages.read()
    for page in found:
        if asked in (str(page.step), f"{page.step:02}", page.name, page.path.stem):
            return page
    raise ValueError(f"there is no page of step {asked!r}; there are {len(found)}, from 1")
