"""What an export says about the artifact that it replaces."""

import json
import math
from pathlib import Path
from typing import Any

from inference.manifest import MANIFEST

# Name, key in a manifest and format of what a net scored.
_SCORES = (("accuracy", "accuracy", ".2%"), ("bits per character", "bits_per_char", ".4f"))


def earlier_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the artifact that an export is about to replace; None if there is none.

    A damaged one is replaced as a whole one is; parts that are not what a manifest has are left
    out, as nothing may fail once the artifact is replaced.
    """
    try:
        document = json.loads((folder / MANIFEST).read_text())
        files = [str(name) for name in document["files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    parts = ("eager", "source", "folders")
    damaged = {name for name in parts if not isinstance(document.get(name), dict)}
    return {**{k: v for k, v in document.items() if k not in damaged}, "files": files}


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
            kind = f"a {'better' if better else 'worse'} one"
            kind = "one as good as this" if old_text == new_text else kind
            compared = f"{kind} ({name} {old_text}, now {new_text})"
    checkpoint = (earlier.get("source") or {}).get("checkpoint")
    origin = f" from {checkpoint}" if checkpoint else ""
    formats = ", ".join([*earlier["files"], *(earlier.get("folders") or {})])
    return f"{compared}{origin}, which had {formats}"


def _score(manifest: dict[str, Any]) -> tuple[str, float, str] | None:
    """Name, value and text of what the net scored before it was exported."""
    eager = manifest.get("eager") or {}
    for name, key, form in _SCORES:
        score = eager.get(key)
        if isinstance(score, (int, float)) and math.isfinite(score):
            return name, score, format(score, form)
    return None
