"""Writes the artifact of a language model: build, prove, put in place."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.hub import pretrained_folder
from datamodules.windows import IGNORED
from exporting.commit import building, name_by_content, put_in_place, write_manifest
from exporting.prober import Prober
from exporting.provenance import header
from exporting.text.gguf_file import modelfile, write_gguf, write_gguf_adapter
from exporting.text.hf_folder import write_hf
from exporting.text.onnx_step import write_onnx
from exporting.text.peft_folder import write_peft
from exporting.text.source import TextSource
from exporting.text.weights import write_bfloat16, write_float32, write_int8
from lightning_modules import GPT2LoRA


@dataclass(frozen=True)
class TextFormat:
    """``drift`` is the largest mean difference of log-probabilities that is let through.

    A format without suffix is a folder; one of ``adapters`` is for a GPT2LoRA alone.
    """

    suffix: str
    drift: float
    write: Callable[[TextSource, Path, str], None]
    adapters: bool = False


TEXT_FORMATS = {
    "safetensors": TextFormat(".safetensors", 1e-4, lambda s, p, n: write_float32(s.net, p)),
    "bf16": TextFormat(".safetensors", 0.05, lambda s, p, n: write_bfloat16(s.net, p)),
    "int8": TextFormat(".safetensors", 0.05, lambda s, p, n: write_int8(s.net, p)),
    "onnx": TextFormat(".onnx", 1e-4, lambda s, p, n: write_onnx(s.net, p)),
    "gguf": TextFormat(".gguf", 0.01, lambda s, p, n: write_gguf(s.net, s.tokenizer, p, n)),
    "gguf-q8": TextFormat(
        ".gguf", 0.05, lambda s, p, n: write_gguf(s.net, s.tokenizer, p, n, q8=True)
    ),
    # A post-norm net is rewritten for it, which costs some digits.
    "hf": TextFormat("", 0.01, lambda s, p, n: write_hf(s.net, s.tokenizer, p)),
    "merged": TextFormat("", 1e-4, lambda s, p, n: write_hf(s.net, s.tokenizer, p), adapters=True),
    "peft": TextFormat("", 1e-4, lambda s, p, n: write_peft(_lora(s), p), adapters=True),
    "gguf-adapter": TextFormat(
        ".gguf", 0.01, lambda s, p, n: write_gguf_adapter(_lora(s), p, n), adapters=True
    ),
}
# What gguf-adapter's file is added to; it comes with it.
_GGUF_BASE = "gguf-base"


def check_text_formats(names: Sequence[str]) -> None:
    """Raises ValueError for a name that is no format, or for none at all."""
    if unknown := [name for name in names if name not in TEXT_FORMATS]:
        near = get_close_matches(unknown[0], TEXT_FORMATS, n=1)
        meant = f"did you mean {near[0]}? It" if near else "it"
        raise ValueError(
            f"a language model has no format {', '.join(unknown)}; {meant} has "
            f"{', '.join(TEXT_FORMATS)}"
        )
    if not names:
        raise ValueError(f"no format given; there are {', '.join(TEXT_FORMATS)}")


def export_text(source: TextSource, folder: Path, formats: Sequence[str]) -> dict[str, Any]:
    """Writes ``formats`` of a language model to ``models/<name>``, in place of what is there.

    Each file is read back by a fresh process without training code, whose logits on validation
    text are compared with the net's: all formats pass, or nothing changes.

    Returns:
        The manifest, in which each file's ``checked`` has ``bits_per_char`` beside the net's own.

    Raises:
        ValueError: a format that this net or machine has not, or a file that does not do what the
            net does; names both.
    """
    check_text_formats(formats)
    for kind in formats:
        if TEXT_FORMATS[kind].adapters and source.lora is None:
            raise ValueError(f"{kind} is a format of adapters, and this model has none")
    with building(folder) as build:
        document = _build(source, build, folder.name, list(formats))
        put_in_place(build, folder)
    return document


def _build(source: TextSource, build: Path, name: str, formats: list[str]) -> dict[str, Any]:
    tokenizer = build / "tokenizer.json"
    tokenizer.write_text(source.tokenizer, encoding="utf-8")
    files = {"tokenizer": _entry(tokenizer)}
    folders = {}
    for kind in formats:
        path = build / f"{kind}{TEXT_FORMATS[kind].suffix}"
        TEXT_FORMATS[kind].write(source, path, name)
        if TEXT_FORMATS[kind].suffix:
            files[kind] = _entry(path)
        else:
            inside = sorted(file for file in path.rglob("*") if file.is_file())
            entries = {str(file.relative_to(path).as_posix()): _describe(file) for file in inside}
            folders[kind] = {"files": entries}
    if "gguf-adapter" in formats:
        path = build / f"{_GGUF_BASE}.gguf"
        write_gguf(_lora(source).unadapted(), source.tokenizer, path, f"{name} base")
        files[_GGUF_BASE] = _entry(path)
    context, template = source.net.config.context, source.description.get("prompt_template")
    for file, text in _modelfiles(files, context, template).items():
        (build / file).write_text(text)
        files[file] = {"file": file, **_describe(build / file), "device": "any"}
    expected = source.log_probabilities()
    if not torch.isfinite(expected).all():
        raise ValueError(
            "the net's outputs on validation text are NaN or infinite: its training diverged. "
            "Nothing was written; train again with a lower learning rate, or export an earlier "
            "checkpoint"
        )
    document = {
        **header(name, source.description),
        "files": files,
        "folders": folders,
        "eager": {"bits_per_char": _bits(source, expected)},
    }
    write_manifest(build, document)
    with Prober() as prober:
        for kind in formats:
            checked = _check(prober, source, build, kind, expected)
            (files if TEXT_FORMATS[kind].suffix else folders)[kind]["checked"] = checked
    write_manifest(build, document)
    return document


def _lora(source: TextSource) -> GPT2LoRA:
    assert source.lora is not None
    return source.lora


def _entry(path: Path) -> dict[str, Any]:
    path = name_by_content(path)
    return {"file": path.name, **_describe(path), "device": "any"}


def _describe(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _check(
    prober: Prober, source: TextSource, build: Path, kind: str, expected: Tensor
) -> dict[str, Any]:
    inputs, outputs = build.parent / "inputs.npy", build.parent / "outputs.npy"
    np.save(inputs, source.inputs.numpy())
    files = {"inputs": str(inputs), "outputs": str(outputs)}
    if kind == "peft":
        files["base"] = str(pretrained_folder(_lora(source).pretrained).resolve())
    try:
        prober.ask("logits", folder=str(build), format=kind, **files)
    except ValueError as error:
        raise ValueError(f"the {kind} file does not run in a fresh process: {error}") from error
    found = torch.from_numpy(np.load(outputs, allow_pickle=False)).log_softmax(-1)
    counted = source.targets != IGNORED  # (N, T)
    wanted = source.targets.masked_fill(~counted, 0)[..., None]
    difference = found.gather(-1, wanted) - expected.gather(-1, wanted)
    drift = float(difference[..., 0][counted].abs().mean())
    # Written so that a NaN fails.
    if not drift <= TEXT_FORMATS[kind].drift:
        raise ValueError(
            f"the {kind} file does not do what the model does: its log-probabilities differ by "
            f"{drift:.3g} on average ({TEXT_FORMATS[kind].drift} allowed). Nothing was written; "
            "leave that format out"
        )
    return {
        "tokens": int(counted.sum()),
        "mean_difference": drift,
        "agreement": float((found.argmax(-1) == expected.argmax(-1))[counted].float().mean()),
        "bits_per_char": _bits(source, found),
    }


def _bits(source: TextSource, log_probabilities: Tensor) -> float:
    loss = F.nll_loss(log_probabilities.flatten(0, 1), source.targets.flatten())
    return float(loss) / (math.log(2) * source.chars_per_token)


def _modelfiles(files: dict[str, Any], context: int, template: str | None) -> dict[str, str]:
    """What Ollama looks for under a fixed name, of the GGUF files that there are."""
    texts = {}
    if kind := next((kind for kind in ("gguf", "gguf-q8") if kind in files), None):
        texts["Modelfile"] = modelfile(files[kind]["file"], context, template)
    if "gguf-adapter" in files:
        base, adapter = (files[kind]["file"] for kind in (_GGUF_BASE, "gguf-adapter"))
        texts["Modelfile.adapter"] = modelfile(base, context, template, adapter)
    return texts
