"""Which configuration files a command line names, checked before anything heavy is imported."""

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

import yaml


def check_config_files(argv: Sequence[str]) -> None:
    """Ends the process with exit code 2 and one sentence if a file after ``-c`` cannot be used."""
    if len(argv) > 1 and re.fullmatch(r"[^-].*\.ya?ml", argv[1]):
        _stop(f"a configuration is named with -c: -c {argv[1]}")
    named = [
        following if argument in ("-c", "--config") else argument.partition("=")[2]
        for argument, following in zip(argv, [*argv[1:], ""], strict=True)
        if argument in ("-c", "--config") or argument.startswith("--config=")
    ]
    for name in named:
        # Only what is surely meant as a file: the option takes YAML itself, too.
        if name.endswith((".yaml", ".yml")) and not Path(name).exists():
            said = f"there is no {missing(Path(name))}"
        elif experiment := named_experiment(name):
            said = f"there is no {name}; did you mean {experiment}?"
        elif name and Path(name).is_dir():
            said = f"{name} is a folder; name a file in it, as -c configs/digits_cnn.yaml"
        elif Path(name).is_file() and (fault := yaml_fault(Path(name))):
            said = fault
        else:
            continue
        _stop(said)


def _stop(said: str) -> NoReturn:
    print(f"gpu-learning: error: {said}", file=sys.stderr)
    raise SystemExit(2)


def yaml_fault(
    path: Path, keys: str = "a configuration holds keys, such as model:, data:, trainer:"
) -> str:
    """Where and why a file is not YAML with keys; empty where it is. ``keys`` says which."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except UnicodeDecodeError:
        return f"{path} is not a text file in UTF-8"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        indented = re.search(r"block|'\\t'|mapping values", error.problem or "")
        remedy = "; what belongs together is indented alike, with spaces" if indented else ""
        return f"{path} is not YAML ({where}{error.problem}){remedy}"
    except yaml.YAMLError as error:
        return f"{path} is not YAML: {' '.join(str(error).split())}"
    if not isinstance(node, yaml.MappingNode):
        holds = "a list" if isinstance(node, yaml.SequenceNode) else "text" if node else "nothing"
        return f"{path} holds {holds}; {keys}"
    return ""


def named_experiment(name: str) -> Path | None:
    """The file of an experiment that is named without ``configs/`` or ``.yaml``, or nearly."""
    if not re.fullmatch(r"[\w/-]+", name) or Path(name).exists():
        return None
    candidates = (Path(f"{name}.yaml"), Path("configs", f"{name}.yaml"))
    if found := next((path for path in candidates if path.is_file()), None):
        return found
    folder = Path(name).parent if "/" in name else Path("configs")
    others = {path.stem: path for path in folder.glob("*.yaml")}
    near = get_close_matches(Path(name).name, others, n=1)
    return others[near[0]] if near else None


def missing(path: Path) -> str:
    """The path, and the nearest name that exists."""
    if not path.parent.is_dir():
        said = f"{path}, and no folder {path.parent}"
        if path.parts[0] == "configs":
            said += f" in {Path.cwd()}: change to the project's folder (cd) and type it there"
        return said
    others = {other.stem: other.name for other in path.parent.iterdir() if other.suffix}
    near = get_close_matches(path.stem, others, n=1) or [n for n in others if path.stem in n]
    return f"{path}; did you mean {path.with_name(others[near[0]])}?" if near else str(path)
