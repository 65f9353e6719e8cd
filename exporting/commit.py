"""Puts a built artifact in place so that a kill at any moment leaves the old one or the new one.

File names carry the start of their checksum, so a new file never overwrites one that the old
manifest names. Replacing ``manifest.json`` is the one step that changes what a reader sees.
"""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

_OURS = re.compile(r".+-[0-9a-f]{12}\.[a-z0-9]+")


def seal(document: dict[str, Any]) -> dict[str, Any]:
    """The manifest with its own checksum."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return {**document, "checksum": hashlib.sha256(text.encode()).hexdigest()}


def write_manifest(folder: Path, document: dict[str, Any]) -> Path:
    """Writes and syncs ``manifest.json`` in a folder that nobody reads yet."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(seal(document), indent=2) + "\n")
    _sync(path)
    return path


def name_by_content(path: Path) -> Path:
    """Renames ``onnx.onnx`` to ``onnx-<12 digits of its sha256>.onnx`` and syncs it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    named = path.with_name(f"{path.stem}-{digest[:12]}{path.suffix}")
    path.rename(named)
    _sync(named)
    return named


def put_in_place(build: Path, folder: Path, files: list[str]) -> None:
    """Moves ``files`` and the manifest from ``build`` to ``folder``, on one file system.

    What an earlier export left there, finished or not, goes afterwards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        os.replace(build / name, folder / name)
    _sync(folder)
    os.replace(build / "manifest.json", folder / "manifest.json")
    _sync(folder)
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.name not in files:
            path.unlink()


def clear_leftovers(folder: Path) -> None:
    """Removes build folders of exports to ``folder`` that were killed."""
    for path in folder.parent.glob(f".{folder.name}.build-*"):
        shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows does not open folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
