"""``gpu-learning export``: a checkpoint becomes checked files in ``models/<name>``."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exporting.format_names import (
    DEFAULT,
    IMAGE_FORMATS,
    TEXT_DEFAULT,
    TEXT_FORMATS,
    named_formats,
)
from scripts.parser import Parser
from training.checkpoint_names import check_source


def main(argv: Sequence[str]) -> int:
    """Exports and prints what was proved."""
    arguments = _parser().parse_args(argv[1:])
    formats = None if arguments.format is None else named_formats(arguments.format)
    check_source(arguments.source)

    from exporting.commit import check_name, check_target

    if arguments.name is not None:
        check_name(arguments.name)
        check_target(arguments.models / arguments.name)

    from exporting.images import check_formats, export, read_source
    from exporting.replaced import earlier_manifest
    from exporting.text import (
        check_text_formats,
        export_text,
        is_text_checkpoint,
        read_text_source,
    )
    from training.runs import find_checkpoint

    checkpoint, said = find_checkpoint(arguments.source)
    _say(f"takes {said}")
    name = arguments.name
    if name is None:
        name = _experiment(checkpoint)
        check_name(name)
        check_target(arguments.models / name)
    is_text = is_text_checkpoint(checkpoint)
    if formats is None:
        formats = [*(TEXT_DEFAULT if is_text else DEFAULT)]
    folder = arguments.models / name
    before = earlier_manifest(folder)
    if is_text and (arguments.model or arguments.data):
        raise ValueError("a language model's checkpoint needs neither --model nor --data")
    if is_text:
        check_text_formats(formats)
        source = read_text_source(checkpoint, arguments.root)
        _say(f"exporting to {folder} ...")
        manifest = export_text(source, folder, formats)
        _say_replaced(folder, before, manifest)
        print(json.dumps(manifest, indent=2)) if arguments.json else _print_text(manifest, folder)
        return 0
    device = arguments.device
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    check_formats(formats, device)
    source = read_source(checkpoint, arguments.root, arguments.model, arguments.data)
    _say(f"exporting to {folder} ...")
    manifest = export(source, folder, formats, device)
    _say_replaced(folder, before, manifest)
    if arguments.json:
        print(json.dumps(manifest, indent=2))
    else:
        _print(manifest, folder)
    return 0


def _parser() -> Parser:
    parser = Parser(
        "gpu-learning export",
        description="Writes the best weights of a run, or of an experiment's best run, to "
        "models/NAME. Every file is read back by a fresh process and compared with eager on the "
        "test split; all pass, or nothing changes.",
        epilog=f"formats: {', '.join(IMAGE_FORMATS)} (by default {', '.join(DEFAULT)}). "
        "torchscript and int8 use interfaces that torch has deprecated; onnx, onnx-int8 and pt2 "
        f"succeed them. Language models have other formats: {', '.join(TEXT_FORMATS)} (by default "
        f"{', '.join(TEXT_DEFAULT)}).",
    )
    parser.add_argument("source", type=Path, help="checkpoint, run folder or logs/<experiment>")
    parser.add_argument("--name", help="name under models/; the experiment's by default")
    parser.add_argument("--format", help="formats, by comma; see below")
    parser.add_argument("--models", type=Path, default=Path("models"), help="where artifacts live")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--root", help="folder of the test data, if not that of the training")
    parser.add_argument("--model", help="class, for a checkpoint that names none: MNISTCNN")
    parser.add_argument("--data", help="class of its data module: MNISTDataModule")
    parser.add_argument("--json", action="store_true", help="the manifest as one JSON document")
    return parser


def _say(sentence: str) -> None:
    print(f"gpu-learning: {sentence}", file=sys.stderr, flush=True)


def _say_replaced(folder: Path, before: dict[str, Any] | None, manifest: dict[str, Any]) -> None:
    if before:
        from exporting.replaced import describe_replaced

        _say(f"replaced {folder}, {describe_replaced(before, manifest)}")


def _experiment(checkpoint: Path) -> str:
    """``mnist_cnn`` from ``logs/mnist_cnn/version_0/checkpoints/best.ckpt``."""
    parents = checkpoint.resolve().parents
    if parents[0].name != "checkpoints":
        raise ValueError(f"{checkpoint} lies in no run; name the model with --name")
    return parents[2].name


def _print(manifest: dict[str, Any], folder: Path) -> None:
    eager = manifest["eager"]
    print(f"{folder}: {manifest['parameters']:,} parameters, eager {_percent(eager['accuracy'])}")
    measured = next(iter(eager["latency"].values()), {})
    batches = [f"b{batch}" for batch in measured][1:] or [""]
    print(
        f"{'format':<12}{'bytes':>11}{'difference':>12}{'agreement':>11}{'accuracy':>10}"
        f"{'x eager b1':>12}{batches[0]:>7}"
    )
    for name, entry in manifest["files"].items():
        checked = entry["checked"]
        ratios = [
            f"{latency['ratio_to_eager']['median']:.2f}"
            for latency in entry.get("latency", {}).values()
        ] or ["", ""]
        difference = f"{checked['max_difference']:.1e}" if "agreement" in checked else "bit-equal"
        print(
            f"{name:<12}{entry['bytes']:>11,}{difference:>12}"
            f"{_percent(checked.get('agreement')):>11}{_percent(checked.get('accuracy')):>10}"
            f"{ratios[0]:>12}{ratios[1]:>7}"
        )
    print(
        f"compared on {_data(manifest)}; one thread; x eager: how many times faster, median of "
        "rounds that take turns; gpu-learning bench infer measures it properly"
    )


def _print_text(manifest: dict[str, Any], folder: Path) -> None:
    eager = manifest["eager"]["bits_per_char"]
    print(f"{folder}: {manifest['parameters']:,} parameters, eager {eager:.4f} bits per character")
    print(f"{'format':<13}{'bytes':>12}{'difference':>12}{'agreement':>11}{'bits/char':>11}")
    rows = dict(manifest["files"])
    rows |= manifest["folders"]
    for name, entry in rows.items():
        if not (checked := entry.get("checked")):
            continue
        size = f"{entry['bytes']:,}" if "bytes" in entry else "folder"
        print(
            f"{name:<13}{size:>12}{checked['mean_difference']:>12.1e}"
            f"{_percent(checked['agreement']):>11}{checked['bits_per_char']:>11.4f}"
        )
    tokens = next(iter(rows[name]["checked"]["tokens"] for name in rows if "checked" in rows[name]))
    print(f"compared with the net by a fresh process on {tokens:,} tokens of validation text")


def _data(manifest: dict[str, Any]) -> str:
    """Which data the files were compared on."""
    return f"the {manifest['test_inputs']:,} test inputs of {manifest['data']}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"
