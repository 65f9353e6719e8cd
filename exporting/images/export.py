"""Writes an artifact: build, prove, measure, put in place."""

import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exporting.commit import building, name_by_content, put_in_place, write_manifest
from exporting.images.formats import FORMATS, check_formats
from exporting.images.gate import check_file, eager_reference, measure
from exporting.images.source import CALIBRATION, Source
from exporting.images.state_dict import pixel_net
from exporting.prober import Prober
from exporting.provenance import header


def export(source: Source, folder: Path, formats: Sequence[str], device: str) -> dict[str, Any]:
    """Writes ``formats`` of a net to ``models/<name>``, in place of what is there.

    Each file is read back by a fresh process without training code and compared with eager on the
    whole test split before anything is put in place: all formats pass, or nothing changes.

    Args:
        source: the net and its test data.
        folder: ``models/<name>``; made if needed.
        formats: names from :data:`~exporting.images.formats.FORMATS`.
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
        **header(name, source.description),
        "files": files,
    }
    write_manifest(build, document)
    with Prober() as prober:
        devices = {kind: files[kind]["device"].replace("any", "cpu") for kind in formats}
        for kind in formats:
            files[kind]["checked"] = check_file(prober, kind, build, eager, devices[kind])
        document["eager"] = {"accuracy": eager.accuracy, "latency": {}}
        for device in sorted(set(devices.values())):
            here = [kind for kind in formats if devices[kind] == device and FORMATS[kind].runs]
            timed = measure(prober, here, work, eager, device)
            document["eager"]["latency"][device] = timed.pop("eager")
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
        example = torch.from_numpy(source.calibration(CALIBRATION))
    net, given = source.net, source.description["input"]
    if made.pixels:
        net = pixel_net(net, *_one_channel(given), source.calibration)
    path = build / f"{kind}{made.suffix}"
    made.write(net, example, path, device)
    path = name_by_content(path)
    entry = {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "device": device if made.cuda_only else "any",
    }
    if made.batch is not None:
        entry["batch"] = made.batch
    if made.pixels and "mean" in given:
        entry["input"] = {"mean": 0.0, "std": 1.0}
    return entry


def _one_channel(given: dict[str, Any]) -> tuple[float | None, float | None]:
    """Mean and standard deviation of gray images; None where the inputs are no images.

    Raises:
        ValueError: they are in color.
    """
    if "mean" not in given:
        return None, None
    if given["shape"][0] != 1:
        raise ValueError(
            "pth folds the normalization of gray images into the first layer, and these are in "
            "color; leave pth out, or take safetensors for the weights"
        )
    return np.ravel(given["mean"])[0].item(), np.ravel(given["std"])[0].item()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _gpu(device: str) -> str | None:
    return torch.cuda.get_device_name() if device == "cuda" else None
