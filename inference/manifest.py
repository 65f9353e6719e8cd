"""``manifest.json``: what an artifact is, and the checksums that its files must have.

A damaged file is refused before anything parses it. The checksums guard against damage, not
against malice: who can write the folder can write a matching manifest. ONNX and safetensors files
hold data only; TorchScript and ``.pt2`` files are as trustworthy as their origin.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO

from inference.images.inputs import DIGITS_ONLY, per_channel, preprocessing_of

MANIFEST = "manifest.json"
# 1 had no checksums of the files in folders, 1 and 2 had one preprocessing, that of digits, and one
# mean for all channels.
SCHEMA = 3
_PIECE = 1 << 24  # bytes that are read at once
LARGEST_MANIFEST = 1 << 20  # bytes
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ArtifactFile:
    """One file of an artifact; ``size`` in bytes, ``device`` is ``any``, ``cpu`` or ``cuda``.

    ``batch`` is the one batch size that the file itself runs, None for any.
    """

    format: str
    path: Path
    size: int
    sha256: str
    device: str
    batch: int | None = None

    def read(self) -> bytes:
        """The checked content.

        Raises:
            ValueError: the file is missing, or is not the one that was exported.
        """
        with self._opened() as file:
            content = file.read()
        self._compare(hashlib.sha256(content))
        return content

    def check(self) -> None:
        """Raises ValueError as :meth:`read` does, a piece of the content at a time."""
        digest = hashlib.sha256()
        with self._opened() as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
        self._compare(digest)

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        try:
            if self.path.is_symlink() or not self.path.is_file():
                raise ValueError(f"{self.path} is missing; export the model again")
            size = self.path.stat().st_size
            if size != self.size:
                raise ValueError(
                    f"{self.path} has {size:,} bytes and the manifest says {self.size:,}; it is "
                    "damaged, export the model again"
                )
            with self.path.open("rb") as file:
                yield file
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read ({error.strerror})") from error

    def _compare(self, digest: Any) -> None:
        if digest.hexdigest() != self.sha256:
            raise ValueError(
                f"{self.path} does not have the checksum of the manifest; it is damaged, export "
                "the model again"
            )


@dataclass(frozen=True)
class Manifest:
    """A checked manifest.

    ``input_shape`` is without the batch; ``mean`` and ``std``, one number or one per channel,
    normalize pixels in [0, 1], and ``preprocessing`` names how an image becomes such pixels (see
    :mod:`inference.images.framing`); the three are None where the input is not an image.
    ``labels`` name the outputs. ``folders`` has the files of
    ``hf``, ``merged`` and ``peft``. ``document`` is all of it.
    """

    folder: Path
    task: str
    input_shape: tuple[int, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    labels: tuple[str, ...] | None
    files: dict[str, ArtifactFile]
    folders: dict[str, list[ArtifactFile]]
    document: dict[str, Any]
    preprocessing: str | None = None

    def check(self, skip: Collection[str] = ()) -> None:
        """Checks all files but those of the formats in ``skip``, which are read anyway.

        Raises:
            ValueError: a file is missing or damaged.
        """
        files = [file for name, file in self.files.items() if name not in skip]
        files += [file for folder in self.folders.values() for file in folder]
        with ThreadPoolExecutor() as pool:  # a checksum is computed without Python's lock
            for _ in pool.map(ArtifactFile.check, files):
                pass


def checksum(document: dict[str, Any]) -> str:
    """sha256 over everything in the manifest but the checksum itself."""
    rest = {key: value for key, value in document.items() if key != "checksum"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def nearest(folder: Path) -> str:
    """A suggestion: the artifact whose name is most like a folder's, beside it, or, of a name
    alone, in ``models/``; or nothing."""
    parents = [folder.parent, *([Path("models")] if len(folder.parts) == 1 else [])]
    for parent in parents:
        names = [path.parent.name for path in parent.glob(f"*/{MANIFEST}")]
        if near := get_close_matches(folder.name, names, n=1):
            return f"; did you mean {parent / near[0]}?"
    return ""


def usage(manifest: "Manifest") -> str:
    """What an artifact is and the command that runs it, as the end of a sentence."""
    folder = manifest.folder
    commands = {
        "text-generation": f'gpu-learning generate {folder} "PROMPT"',
        "image-classification": f"gpu-learning classify {folder} FILE",
    }
    command = commands.get(manifest.task, f"inference.load({str(folder)!r})(array) in Python")
    return f"a model for {manifest.task}: {command}"


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of ``models/<name>``.

    Raises:
        ValueError: there is none, it is damaged, or it is not one of this project's.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if path.is_symlink():
        raise ValueError(f"{path} is a link; copy the folder with the files that it leads to")
    if not path.is_file():
        what = "has no manifest.json" if folder.is_dir() else "does not exist"
        remedy = nearest(folder) or "; it must be a folder that was made by gpu-learning export"
        raise ValueError(f"{folder} {what}{remedy}")
    document = _document(path)
    if document.get("schema") not in (*DIGITS_ONLY, SCHEMA):
        raise ValueError(
            f"{path} has schema {document.get('schema')!r}, this version reads 1 to {SCHEMA}; "
            "export the model again"
        )
    try:
        return _manifest(folder, document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"{path} is not a valid manifest: {said}; export the model again"
        ) from error


def _document(path: Path) -> dict[str, Any]:
    if path.stat().st_size > LARGEST_MANIFEST:
        raise ValueError(f"{path} is larger than {LARGEST_MANIFEST:,} bytes; it is no manifest")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: it is not JSON; export the model again") from error
    if not isinstance(document, dict) or document.get("checksum") != checksum(document):
        raise ValueError(
            f"{path} does not have its own checksum: it is damaged or was edited; export the "
            "model again"
        )
    return document


def _manifest(folder: Path, document: dict[str, Any]) -> Manifest:
    given = document["input"]
    shape = tuple(_whole(size) for size in given["shape"])
    kind = "int64" if document["task"] == "text-generation" else "float32"
    if given["dtype"] != kind:
        raise ValueError(f"input dtype {given['dtype']!r} is not {kind}")
    labels = document.get("labels")
    if labels is not None and not (labels and all(isinstance(label, str) for label in labels)):
        raise ValueError("labels must be a list of strings")
    image = document["task"] == "image-classification"
    if image and (labels is None or len(shape) != 3):
        raise ValueError(
            "an image classifier needs labels, one name per output, and an input of "
            "(channels, H, W)"
        )
    preprocessing = preprocessing_of(document, shape) if image else None
    return Manifest(
        folder=folder,
        task=str(document["task"]),
        input_shape=shape,
        mean=per_channel(given["mean"], shape[0]) if image else None,
        std=per_channel(given["std"], shape[0]) if image else None,
        labels=tuple(labels) if labels is not None else None,
        files={name: _file(folder, name, entry) for name, entry in document["files"].items()},
        folders=_folders(folder, document.get("folders", {})),
        document=document,
        preprocessing=preprocessing,
    )


def _folders(folder: Path, given: dict[str, Any]) -> dict[str, list[ArtifactFile]]:
    folders = {}
    for name, content in given.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a plain folder name")
        if (folder / name).is_symlink():
            raise ValueError(f"{name!r} is a link; copy the folder that it leads to")
        folders[name] = [
            _file(folder / name, name, {"file": file, "device": "any"} | entry)
            for file, entry in content["files"].items()
        ]
    return folders


def check_folder(folder: Path) -> None:
    """Checks a folder of an artifact, ``models/NAME/hf``; any other has no checksums to check.

    Raises:
        ValueError: a file in it, or the manifest, is missing or damaged.
    """
    folder = folder.resolve()
    if (folder.parent / MANIFEST).is_file():
        for file in read_manifest(folder.parent).folders.get(folder.name, []):
            file.check()


def _file(folder: Path, name: str, entry: dict[str, Any]) -> ArtifactFile:
    if not _NAME.fullmatch(entry["file"]):
        raise ValueError(f"{entry['file']!r} is not a plain file name")
    if not _HASH.fullmatch(entry["sha256"]):
        raise ValueError(f"the sha256 of {name} is not one")
    if entry["device"] not in ("any", "cpu", "cuda"):
        raise ValueError(f"device {entry['device']!r} is not any, cpu or cuda")
    return ArtifactFile(
        name,
        folder / entry["file"],
        _whole(entry["bytes"]),
        entry["sha256"],
        entry["device"],
        _whole(entry["batch"]) if "batch" in entry else None,
    )


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{value!r} is not a whole number above 0")
    return value
