"""Whether a checkpoint that a command names is there, checked before anything heavy is imported."""

import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path


def check_ckpt_path(argv: Sequence[str]) -> None:
    """Raises ValueError if what follows ``--ckpt_path`` is neither ``last``, ``best`` nor there.

    Nothing behind it ends the process with exit code 2, as does each option without its value.
    """
    for argument, following in zip(argv, [*argv[1:], "--"], strict=True):
        option, equals, value = argument.partition("=")
        name = value if equals else following
        if argument == "--ckpt_path" and following.startswith("-"):
            said = "--ckpt_path needs a value after it: last, best or a file"
            print(f"gpu-learning: error: {said}", file=sys.stderr)
            raise SystemExit(2)
        if option == "--ckpt_path" and name not in ("", "null", "last", "best"):
            check_is_there(Path(name))


def check_is_there(path: Path) -> None:
    """Raises ValueError if a path is neither a file nor a folder of shards, as FSDP writes them."""
    if path.is_file() or (path / ".metadata").is_file():
        return
    # A run's folder, or a name in it without checkpoints/.
    inside = path / "checkpoints" / "best.ckpt"
    beside = path.parent / "checkpoints" / path.name
    meant = next((str(one) for one in (inside, beside) if one.is_file()), "")
    if not meant and (near := get_close_matches(str(path), ("last", "best"), n=1)):
        meant = f"--ckpt_path {near[0]}"
    if not meant and (near := _near(path, (one.name for one in path.parent.glob("*.ckpt")))):
        meant = str(near)
    if not meant and (near := _walked(path)) and near.is_file():
        meant = str(near)
    raise ValueError(
        f"the checkpoint {path} does not exist, or is not a file"
        + (f"; did you mean {meant}?" if meant else "; name a file, or last or best")
    )


def check_source(path: Path) -> None:
    """Raises ValueError if a path is neither a file nor the folder of a run or an experiment."""
    if _is_source(path):
        return
    if not path.exists():
        near = _near(path, (one.name for one in path.parent.glob("*/"))) or _walked(path)
        if near and (near.is_dir() or _is_source(near)):
            raise ValueError(f"there is no {path}; did you mean {near}?")
    experiments = sorted({found.parents[2] for found in path.glob("*/*/checkpoints/best.ckpt")})
    if experiments:
        raise ValueError(
            f"{path} holds experiments; name the one to export: {', '.join(map(str, experiments))}"
        )
    raise ValueError(
        f"{path} is not a checkpoint and has no best.ckpt under it; name a file or a run, such as "
        "logs/mnist_cnn/version_0"
    )


def _is_source(path: Path) -> bool:
    bests = (path / "best.ckpt", path / "checkpoints" / "best.ckpt")
    return path.is_file() or any(map(Path.is_file, bests)) or _has(path, "*/checkpoints/best.ckpt")


def _has(path: Path, pattern: str) -> bool:
    return next(path.glob(pattern), None) is not None


def _near(path: Path, names: Iterable[str]) -> Path | None:
    """The path beside this one whose name is most like its own, or contains it."""
    names = sorted(names)
    near = get_close_matches(path.name, names, n=1) or [one for one in names if path.name in one]
    return path.with_name(near[0]) if near else None


def _walked(path: Path) -> Path | None:
    """What exists below folders and with a file name that are each the one typed or most like it.

    A single name is not enough to go by: any file here may be a little like it.
    """
    found = Path(path.anchor)
    for part in path.relative_to(found).parts:
        step = found / part
        if not step.exists():
            others = list(found.iterdir()) if found.is_dir() else []
            names = sorted(one.name for one in others if one.suffix == step.suffix)
            if not (near := get_close_matches(part, names, n=1)):
                return None
            step = found / near[0]
        found = step
    return found if len(path.parts) > 1 else None
