"""Puts a built artifact in place so that a kill at any moment leaves the old one or the new one.

The new artifact is built as a whole folder beside the old one, synced, and the two folders exchange
their names in one call of the file system. So one step covers files, ``hf/``, ``peft/`` and
Modelfiles, and all of them keep the names that transformers, peft and Ollama are pointed at. Links
to versions were the alternative: ``cp -r``, archives and Windows do not keep them.

Windows and a few network file systems cannot exchange two folders. Two renames do it there; a kill
between them leaves no artifact but the old one's folder in ``.NAME.build``, and the next export
puts it back.
"""

import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from inference.manifest import MANIFEST

try:
    import fcntl
except ImportError:  # Windows: nothing tells there whether an export is still running
    fcntl = None

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# What an export writes; anything else in the folder is the user's and is carried over.
_OURS = re.compile(
    r"manifest\.json|Modelfile(\.adapter)?|hf|merged|peft|.+-[0-9a-f]{12}\.[a-z0-9]+"
)
_AT_FDCWD, _EXCHANGE = -100, 2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_CANNOT_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def seal(document: dict[str, Any]) -> dict[str, Any]:
    """The manifest with its own checksum."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return {**document, "checksum": hashlib.sha256(text.encode()).hexdigest()}


def write_manifest(folder: Path, document: dict[str, Any]) -> Path:
    """Writes ``manifest.json`` in a folder that nobody reads yet."""
    path = folder / MANIFEST
    path.write_text(json.dumps(seal(document), indent=2) + "\n")
    return path


def name_by_content(path: Path) -> Path:
    """Renames ``onnx.onnx`` to ``onnx-<12 digits of its sha256>.onnx``.

    A process that still holds the old manifest then misses a file instead of reading another one.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    named = path.with_name(f"{path.stem}-{digest[:12]}{path.suffix}")
    path.rename(named)
    return named


def check_name(name: str) -> None:
    """Raises ValueError where the name cannot be that of a folder under ``models``."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a model; letters, digits, '.', '_' and '-' can")


def check_target(folder: Path) -> None:
    """Refuses a ``models/NAME`` that an artifact cannot replace.

    Raises:
        ValueError: as :func:`check_name`, the models folder is a file, or what is there was not
            made by an export.
    """
    check_name(folder.name)
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ValueError(f"{above} is a file; the models folder (--models) must be a folder")
    if not folder.exists() or (folder / MANIFEST).is_file():
        return
    if not folder.is_dir() or not all(_OURS.fullmatch(path.name) for path in folder.iterdir()):
        raise ValueError(
            f"{folder} was not made by gpu-learning export and is left as it is; take another "
            "name, or move it away"
        )


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """An empty folder beside ``models/NAME`` in which the artifact is built, and then removed.

    One export at a time holds it. The lock ends with its process, so that the next export removes
    what a killed one left there.

    Yields:
        ``models/.NAME.build/new``; what is no part of the artifact belongs to its parent.

    Raises:
        ValueError: as :func:`check_target`, another export writes this artifact, or the disk is
            full or read-only.
    """
    check_target(folder)
    workspace = folder.parent.resolve() / f".{folder.name}.build"
    lock = None
    try:
        lock = _lock(workspace, folder)
        _clear(workspace, folder)
        new = workspace / "new"
        new.mkdir()
        yield new
    except (OSError, SafetensorError) as error:
        raise ValueError(_explain(folder, error)) from error
    finally:
        if lock is not None:
            shutil.rmtree(workspace, ignore_errors=True)
            os.close(lock)


def put_in_place(build: Path, folder: Path) -> None:
    """Exchanges the artifact in ``build`` with ``folder``, or moves it there if there is none."""
    if not folder.exists():
        _sync_tree(build)
        os.rename(build, folder)
    else:
        for path in folder.iterdir():
            if not _OURS.fullmatch(path.name):
                _carry_over(path, build / path.name)
        _sync_tree(build)
        if not _exchange(build, folder):
            os.rename(folder, build.with_name("old"))
            os.rename(build, folder)
    _sync(folder.parent)


def _lock(workspace: Path, folder: Path) -> int:
    while True:
        workspace.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            return os.open(os.devnull, os.O_RDONLY)
        handle = os.open(workspace, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The export that held it may have removed the folder meanwhile.
            if workspace.exists() and os.path.samestat(os.fstat(handle), workspace.stat()):
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise ValueError(
                f"another export is writing {folder}; wait until it has ended, or take another name"
            ) from error
        os.close(handle)


def _clear(workspace: Path, folder: Path) -> None:
    """Removes what killed exports left, earlier versions' too."""
    if (workspace / "old").exists() and not folder.exists():
        os.rename(workspace / "old", folder)
    for path in (*workspace.iterdir(), *workspace.parent.glob(f".{folder.name}.build-*")):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _carry_over(path: Path, target: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.copytree(path, target, symlinks=True)
    else:
        shutil.copy2(path, target, follow_symlinks=False)


def _exchange(first: Path, second: Path) -> bool:
    """Swaps two folders in one step; False where this system or file system cannot."""
    if os.name == "nt":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(first), os.fsencode(second)
    if sys.platform == "darwin":
        failed = library.renamex_np(*names, _EXCHANGE)
    elif hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE)
    else:
        return False
    code = ctypes.get_errno()
    if failed and code not in _CANNOT_EXCHANGE:
        raise OSError(code, os.strerror(code), str(second))
    return not failed


def _explain(folder: Path, error: Exception) -> str:
    code = getattr(error, "errno", None)
    if found := re.search(r"os error (\d+)", str(error)):  # safetensors'
        code = int(found[1])
    # NumPy's for a short write has no number: "65536 requested and 33744 written".
    if code in _FULL or "requested and" in str(error):
        reason = "the disk is full: free some space, or write to another folder (--models)"
    elif code in _READ_ONLY:
        reason = (
            f"{folder.parent} cannot be written to ({os.strerror(code)}): change that, or write to "
            "another folder (--models)"
        )
    else:
        reason = " ".join(str(error).split())
    return f"{folder} could not be written, and what was there stays: {reason}"


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if not path.is_symlink():
            _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows does not open folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
