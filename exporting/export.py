"""Writes an artifact: build, prove, measure, put in place."""

import hashlib
import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from exporting.commit import building, name_by_content, put_in_place, write_manifest
from exporting.formats import FORMATS, check_formats
from exporting.gate import check_file, eager_reference, measure
from exporting.prober import Prober
from exporting.source import Source
from inference.manifest import SCHEMA

_PACKAGES = ("gpu-learning", "torch", "lightning", "onnx", "onnxruntime", "executorch", "numpy")


def export(source: Source, folder: Path, formats: Sequence[str], device: str) -> dict[str, Any]:
    """Writes ``formats`` of a net to ``models/<name>``, in place of what is there.

    Each file is read back by a fresh process without training code and compared with eager on the
    whole test split before anything is put in place: all formats pass, or nothing changes.

    Args:
        source: the net and its test data.
        folder: ``models/<name>``; made if needed.
        formats: names from :data:`~exporting.formats.FORMATS`.
        device: ``cpu`` or ``cuda``, for the formats that are built for a processor.

    Returns:
        The manifest.

    Raises:
        ValueError: a format that cannot be written here, or a file that does not do what eager
            does; the message names both. Or ``folder`` cannot be written, see
            :func:`~exporting.commit.building`.
    """
    names = list(formats)
    check_formats(names, device)
    with building(folder) as build:
        document = _build(source, build, folder.name, names, device)
        put_in_place(build, folder)
    return document


def _build(
    source: Source, build: Path, name: str, formats: list[str], device: str
) -> dict[str, Any]:
    work = build.parent / "work"
    work.mkdir()
    eager = eager_reference(source, work)
    example = torch.from_numpy(source.inputs[:2])
    files = {kind: _write(source, example, build, kind, device) for kind in formats}
    document = {
        "schema": SCHEMA,
        "name": name,
        **source.description,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git": git_revision(),
        "versions": versions(),
        "files": files,
    }
    write_manifest(build, document)
    with Prober() as prober:
        places = {kind: files[kind]["device"].replace("any", "cpu") for kind in formats}
        for kind in formats:
            files[kind]["checked"] = check_file(prober, kind, build, eager, places[kind])
        document["eager"] = {"accuracy": eager.accuracy, "latency": {}}
        for place in sorted(set(places.values())):
            here = [kind for kind in formats if places[kind] == place and FORMATS[kind].runs]
            timed = measure(prober, here, work, eager, place)
            document["eager"]["latency"][place] = timed.pop("eager")
            for kind, latency in timed.items():
                files[kind]["latency"] = latency
    document["measured_on"] = {"cpu": _processor(), "threads": 1, "gpu": _gpu(device)}
    write_manifest(build, document)
    return document


def _write(
    source: Source, example: torch.Tensor, build: Path, kind: str, device: str
) -> dict[str, Any]:
    made = FORMATS[kind]
    if made.calibrated:
        if source.calibration is None:
            raise ValueError(f"{kind} needs training inputs to measure the range of activations")
        example = torch.from_numpy(source.calibration())
    path = build / f"{kind}{made.suffix}"
    made.write(source.net, example, path, device)
    path = name_by_content(path)
    entry = {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "device": device if made.native else "any",
    }
    return entry if made.batch is None else {**entry, "batch": made.batch}


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


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _gpu(device: str) -> str | None:
    return torch.cuda.get_device_name() if device == "cuda" else None
