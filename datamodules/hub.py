"""Pretrained models by name: a folder here, or the Hugging Face hub."""

import hashlib
import json
import re
import socket
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from inference.manifest import nearest

_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
_TOKENIZER = ["tokenizer.json", "vocab.json", "merges.txt"]
_MODEL = [
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
]
WITHOUT = (
    "without a network name a folder in transformers' format, such as the hf folder of an exported "
    "model (models/NAME/hf); docs/gpt2.md says how to make one"
)


def pretrained_folder(name: str, weights: bool = True) -> Path:
    """The folder with a pretrained model's files, downloaded if need be.

    A folder of this name comes before the hub, and what the hub's cache has is not asked for again
    where there is no network.

    Args:
        name: a folder, or a repository on the Hugging Face hub such as ``gpt2``.
        weights: with false the tokenizer's files are enough.

    Raises:
        ValueError: it is neither, or the hub cannot be reached; names the way without a network.
            Or it is a damaged folder of an artifact.
    """
    folder = Path(name)
    if folder.is_dir():
        _check_artifact(folder, weights)
        return folder
    # models/nme is a mistake in a name here, not a user called models on the hub.
    is_path = not _REPOSITORY.fullmatch(name) or ("/" in name and folder.parent.is_dir())
    if folder.exists() or is_path:
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ValueError(
            f"{name} {what}, and cannot be a name on the Hugging Face hub{nearest(folder)}"
        )
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{name} is not a folder, and the Hugging Face hub needs the package huggingface_hub: "
            "make setup EXTRAS=dev,llm"
        ) from error
    online = _reachable()
    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=[*_TOKENIZER, *(_MODEL if weights else [])],
                local_files_only=not online,
            )
        )
    except Exception as error:  # the package has a dozen, without a base of their own
        why = " ".join(str(error).split())[:160] if online else "there is no network"
        raise ValueError(
            f"{name} is not a folder here and cannot be had from the Hugging Face hub ({why}); "
            f"{WITHOUT}"
        ) from error


def _check_artifact(folder: Path, weights: bool) -> None:
    """Compares ``models/NAME/hf`` with the checksums in ``models/NAME/manifest.json``."""
    manifest = folder.resolve().parent / "manifest.json"
    if not manifest.is_file():
        return
    try:
        entries = json.loads(manifest.read_text()).get("folders", {}).get(folder.resolve().name, {})
        sums = {name: entry["sha256"] for name, entry in entries.get("files", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{manifest} is damaged; export the model again") from error
    for name, expected in sums.items():
        if not weights and name not in _TOKENIZER:
            continue
        digest = hashlib.sha256()
        try:
            with (folder / name).open("rb") as file:
                while piece := file.read(1 << 24):
                    digest.update(piece)
        except OSError as error:
            raise ValueError(f"{folder / name} cannot be read ({error.strerror})") from error
        if digest.hexdigest() != expected:
            raise ValueError(
                f"{folder / name} does not have the checksum of {manifest}; it is damaged, export "
                "the model again"
            )


def _reachable() -> bool:
    """Whether the hub answers, in seconds; its own client tries for half a minute a file."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return False
    url = urlsplit(ENDPOINT)
    if urllib.request.getproxies().get(url.scheme):
        return True  # only a request through the proxy could tell
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname or "", port), timeout=5).close()
    except OSError:
        return False
    return True
