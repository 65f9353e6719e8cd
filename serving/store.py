"""Copies and deletes models on the disk; each appears, and goes, in one step."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from inference.manifest import read_manifest

# As gpu-learning export names models; the first character keeps a folder visible.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_name(name: str) -> bool:
    """Whether a model can be called this."""
    return bool(_NAME.fullmatch(name))


def copy_model(source: Path, target: Path) -> None:
    """Copies the folder ``source`` to ``target``, links in it as links.

    Raises:
        OSError: there is something at ``target``, or the disk is full or read-only.
        ValueError: a file is damaged, or the model was exported again meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix=".copy-", dir=target.parent) as place:
        whole = Path(place) / target.name
        shutil.copytree(source, whole, symlinks=True)
        read_manifest(whole).check()
        # By the case as well, which requests do not look at.
        for path in target.parent.iterdir():
            if path.name.casefold() == target.name.casefold():
                raise FileExistsError(f"there is a {path.name} already")
        whole.rename(target)


def delete_model(folder: Path) -> None:
    """Deletes a model's folder; of a link to one, the link alone.

    Raises:
        OSError: the disk is read-only.
    """
    if folder.is_symlink():
        folder.unlink()
        return
    with tempfile.TemporaryDirectory(prefix=".delete-", dir=folder.parent) as place:
        folder.rename(Path(place) / folder.name)
