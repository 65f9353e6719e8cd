"""Which configuration files a command line names, checked before anything heavy is imported."""

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path


def refuse_missing(argv: Sequence[str]) -> None:
    """Ends the process with exit code 2 and one sentence if a file after ``-c`` does not exist."""
    named = [
        following if argument in ("-c", "--config") else argument.partition("=")[2]
        for argument, following in zip(argv, [*argv[1:], ""], strict=True)
        if argument in ("-c", "--config") or argument.startswith("--config=")
    ]
    for name in named:
        # Only what is surely meant as a file: the option takes YAML itself, too.
        if name.endswith((".yaml", ".yml")) and not Path(name).exists():
            said = missing(Path(name))
        elif experiment := named_experiment(name):
            said = f"{name}; did you mean {experiment}?"
        else:
            continue
        print(f"gpu-learning: error: there is no {said}", file=sys.stderr)
        raise SystemExit(2)


def named_experiment(name: str) -> Path | None:
    """The file of an experiment that is named without ``configs/`` or ``.yaml``."""
    if not re.fullmatch(r"[\w/-]+", name) or Path(name).exists():
        return None
    candidates = (Path(f"{name}.yaml"), Path("configs", f"{name}.yaml"))
    return next((path for path in candidates if path.is_file()), None)


def missing(path: Path) -> str:
    """The path, and the nearest name that exists."""
    if not path.parent.is_dir():
        said = f"{path}, and no folder {path.parent}"
        if path.parts[0] == "configs":
            said += f" in {Path.cwd()}: change to the project's folder (cd) and type it there"
        return said
    near = get_close_matches(path.name, [other.name for other in path.parent.iterdir()], n=1)
    return f"{path}; did you mean {near[0]}?" if near else str(path)
