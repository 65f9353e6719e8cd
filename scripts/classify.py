"""``gpu-learning classify``: what images show."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from inference import Classifier, Prediction, load
from inference.images.classifier import find_images
from inference.images.inputs import DIGITS
from inference.images.preprocessing import SUFFIXES
from inference.manifest import read_manifest, usage
from scripts.parser import Parser


def main(argv: Sequence[str]) -> int:
    """Prints a prediction for each file; 1 if a file could not be read, 0 otherwise."""
    parser = Parser(
        "gpu-learning classify",
        usage="gpu-learning classify [OPTIONS] MODEL IMAGE [IMAGE ...]",
        description="Says which of the model's classes each image shows. Folders are walked. For a "
        "model of digits, dark ink on a light ground and light on dark are told apart by the edge "
        "of the image.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="models/NAME")
    parser.add_argument("images", type=Path, nargs="*", metavar="IMAGE", help="file or folder")
    parser.add_argument("--runtime", help="exported format to run; the best by default")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--ink", choices=["auto", "dark", "light"], default="auto", help="of digits"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args(argv[1:])
    first = arguments.model
    if first.suffix.lower() in SUFFIXES and not first.is_dir():
        parser.error(
            f"{first} is named like an image; the first argument is a model's folder, and images "
            f"follow it: gpu-learning classify models/NAME {first}"
        )
    if not arguments.images:
        parser.error("the following arguments are required: IMAGE")
    manifest = read_manifest(arguments.model)
    if manifest.task != "image-classification":  # a language model would take seconds to load
        raise ValueError(f"{arguments.model} is not an image classifier but {usage(manifest)}")
    model = load(arguments.model, arguments.runtime, arguments.device)
    assert isinstance(model, Classifier), f"load made a {type(model).__name__} of a classifier"
    digits = model.manifest.preprocessing in DIGITS
    if not digits and arguments.ink != "auto":
        raise ValueError(f"--ink is for models of digits, and {arguments.model} is none")
    paths = find_images(arguments.images)
    invert = {"auto": None, "dark": True, "light": False}[arguments.ink]
    as_json = arguments.json or not sys.stdout.isatty()
    failed = []
    if not as_json:
        width = max(4, *(len(str(path)) for path in paths))
        room = max(5, *map(len, model.manifest.labels or ()))
        print(f"{'file':<{width}}  {'label':>{room}}  confidence{'  ink' if digits else ''}")
    for path, result in _with_progress(model.predict_files(paths, invert=invert), len(paths)):
        if isinstance(result, ValueError):
            failed.append((path, result))
        elif as_json:
            print(_line(_fields(path, result)))
        else:
            ink = ("  dark" if result.inverted else "  light") if digits else ""
            print(f"{path!s:<{width}}  {result.label:>{room}}  {result.confidence:>10.1%}{ink}")
    for path, error in failed:
        text = str(error) if str(path) in str(error) else f"{path}: {error}"
        print(f"gpu-learning: error: {text}", file=sys.stderr)
    if failed:
        print(
            f"gpu-learning: {len(failed)} of {len(paths)} could not be classified", file=sys.stderr
        )
    return 1 if failed else 0


def _fields(path: Path, prediction: Prediction) -> dict[str, object]:
    return {
        "file": str(path),
        "label": prediction.label,
        "confidence": round(prediction.confidence, 6),
        "all_probs": [round(share, 6) for share in prediction.all_probs],
        "inverted": prediction.inverted,
    }


def _line(fields: dict[str, object]) -> str:
    """JSON with names as they are, or escaped where the output's encoding lacks a character."""
    text = json.dumps(fields, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(fields)
    return text


def _with_progress(results, total: int):
    """A bar on standard error while there is somebody to see it and enough to wait for."""
    if total < 64 or not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(results, "reading", total, console=Console(stderr=True), transient=True)
