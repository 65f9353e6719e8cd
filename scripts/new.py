"""``gpu-learning new``: a small project of one's own on top of this one."""

import keyword
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from scripts.parser import Parser

TEMPLATE = Path(__file__).with_name("new_project")
PLACEHOLDER = "my_project"
# Folders of the project itself, or of its runs.
_TAKEN = ("configs", "data", "logs", "models", "tests")


def main(argv: Sequence[str]) -> int:
    """Writes the folder and prints what to type next."""
    parser = Parser(
        "gpu-learning new",
        description="Writes the folder NAME: a package with a net, a module and a data module, one "
        "YAML, a test, a README and a pyproject.toml. It trains, tests, exports and serves as it "
        "is; docs/your-own.md walks through it.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="of the folder and of the package in it")
    name = parser.parse_args(argv[1:]).name
    check_name(name)
    folder = Path(name)
    written = write_project(folder)
    print(f"{folder}: {len(written)} files", file=sys.stderr)
    print(
        f"cd {name}\n"
        f"gpu-learning fit -c configs/{name}.yaml\n"
        f"gpu-learning test -c configs/{name}.yaml\n"
        f"gpu-learning export logs/{name} --format onnx,torchscript\n"
        "gpu-learning serve models/"
    )
    return 0


def check_name(name: str) -> None:
    """Raises ValueError for a name that no package of the user's can have."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(
            f"{name!r} is not a name that Python can import; use letters, digits and underscores, "
            "as in my_project"
        )
    if not name.isascii() or not name[0].isalpha() or name[-1] == "_":
        raise ValueError(
            f"{name!r} is not a name that pip can install; use the letters a to z, digits and "
            "underscores in between, as in my_project"
        )
    if name in _TAKEN:
        raise ValueError(f"{name} is a folder within the project; take another name")
    if find_spec(name) is not None and not Path(name).exists():
        raise ValueError(f"{name} is a package that is installed already; take another name")


def write_project(folder: Path) -> list[Path]:
    """Writes the template under the name of ``folder``.

    Raises:
        ValueError: the folder exists.
    """
    try:
        folder.mkdir()
    except FileExistsError as error:
        raise ValueError(f"{folder} exists already; take another name or remove it") from error
    written = []
    for source in sorted(TEMPLATE.rglob("*")):
        if not source.is_file() or "__pycache__" in source.parts:
            continue
        relative = str(source.relative_to(TEMPLATE)).replace(PLACEHOLDER, folder.name)
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text().replace(PLACEHOLDER, folder.name))
        written.append(target)
    return written
