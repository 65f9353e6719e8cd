"""What an export says about the artifact that it replaces."""

import json
from pathlib import Path
from typing import Any

from inference.manifest import MANIFEST


def earlier_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the artifact that an export is about to replace; None if there is none.

    A damaged one is replaced as a whole one is.
    """
    try:
        document = json.loads((folder / MANIFEST).read_text())
        return {**document, "files": list(document["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def describe_replaced(earlier: dict[str, Any], now: dict[str, Any]) -> str:
    """The replaced artifact beside the new one: which scored better, its checkpoint, its formats.

    ``a better one (accuracy 98.33%, now 96.11%) from logs/a/version_0/checkpoints/best.ckpt, which
    had onnx``: the run is there to export it again under another name.
    """
    before, after = _score(earlier), _score(now)
    compared = "one"
    if before and after and before[0] == after[0]:
        name, old, old_text = before
        _, new, new_text = after
        if any(earlier.get(key) != now.get(key) for key in ("data", "test_inputs")):
            compared = f"one that was scored on other data ({name} {old_text}, now {new_text})"
        else:
            better = old > new if name == "accuracy" else old < new
            kind = (
                "one as good as this" if old == new else f"a {'better' if better else 'worse'} one"
            )
            compared = f"{kind} ({name} {old_text}, now {new_text})"
    checkpoint = (earlier.get("source") or {}).get("checkpoint")
    origin = f" from {checkpoint}" if checkpoint else ""
    formats = ", ".join([*earlier["files"], *(earlier.get("folders") or {})])
    return f"{compared}{origin}, which had {formats}"


def _score(manifest: dict[str, Any]) -> tuple[str, float, str] | None:
    """Name, value and text of what the net scored before it was exported."""
    eager = manifest.get("eager") or {}
    if (accuracy := eager.get("accuracy")) is not None:
        return "accuracy", accuracy, f"{accuracy:.2%}"
    if (bits := eager.get("bits_per_char")) is not None:
        return "bits per character", bits, f"{bits:.4f}"
    return None
