"""Where an artifact comes from: the first lines of its manifest."""

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from inference.manifest import SCHEMA

_PACKAGES = ("gpu-learning", "torch", "lightning", "onnx", "onnxruntime", "executorch", "numpy")


def header(name: str, description: Mapping[str, Any]) -> dict[str, Any]:
    """What every manifest begins with: schema, name, description, time, code and versions."""
    return {
        "schema": SCHEMA,
        "name": name,
        **description,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git": git_revision(),
        "versions": versions(),
    }


def origin(checkpoint: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint that was exported: its path, sha256, epoch and step."""
    return {
        "checkpoint": str(checkpoint),
        "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "epoch": content["epoch"],
        "global_step": content["global_step"],
    }


def versions() -> dict[str, str]:
    """Versions of what the files were made with."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """Commit of the code, with ``-dirty`` where files differ from it; None outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None
