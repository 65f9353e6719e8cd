"""Reads a language model of ``models/``: config, weights and tokenizer, all checked."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from inference.manifest import ArtifactFile, Manifest, read_manifest, usage
from inference.runtimes.runtime import first_line
from inference.text.cached_gpt import CachedGPT
from inference.text.tokenizer import Tokenizer

# Best first: the most exact, and what a GPU can run before what only a CPU can.
BEST = ("safetensors", "bf16", "int8", "gguf", "gguf-q8", "gguf-adapter", "onnx")


@dataclass(frozen=True)
class TextArtifact:
    """``weights`` is the state dict of ``nets.gpt.GPT``; empty for an ONNX file, which is ``file``.

    ``template`` is the prompt of the training, with ``{question}`` for the question; None for a
    model that continues a text.
    """

    format: str
    config: dict[str, Any]
    tokenizer: Tokenizer
    file: ArtifactFile | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)
    template: str | None = None

    def model(self, threads: int | None = None) -> Any:
        """A float32 model with one slot on the CPU; ``threads`` are those of an ONNX file."""
        if self.format == "onnx":
            assert self.file is not None
            from inference.text.onnx_gpt import OnnxGPT

            return OnnxGPT(self.config, self.file, threads)
        return CachedGPT(self.config, self.weights)


def read_text_artifact(folder: Path, format: str | None = None) -> TextArtifact:
    """A language model from ``models/<name>``.

    Args:
        folder: made by ``gpu-learning export`` or the callback ``ExportText``.
        format: which of its files, None for the first of ``BEST`` that is there.

    Raises:
        ValueError: not a language model, no such file, or a damaged one.
    """
    manifest = read_manifest(folder)
    if manifest.task != "text-generation":
        raise ValueError(f"{folder} is not a language model but {usage(manifest)}")
    there = [name for name in BEST if name in manifest.files]
    name = format or next(iter(there), "")
    if name not in there:
        raise ValueError(
            f"{folder} has no {name or 'weights'}; it has {', '.join(there) or 'nothing to run'}"
        )
    if "tokenizer" not in manifest.files:
        raise ValueError(f"{folder} has no tokenizer; export the model again")
    tokenizer = Tokenizer(manifest.files["tokenizer"].read().decode(errors="replace"))
    config, file = dict(manifest.document["config"]), manifest.files[name]
    template = manifest.document.get("prompt_template")
    if template is not None and not (isinstance(template, str) and "{question}" in template):
        raise ValueError(f"the prompt_template of {folder} holds no {{question}}")
    if name == "onnx":
        return TextArtifact(name, config, tokenizer, file, template=template)
    try:
        config, weights = _read_weights(manifest, file, config)
    except ValueError:
        raise
    except Exception as error:  # a file of another kind makes the readers raise many kinds
        raise ValueError(
            f"{file.path} cannot be read as {name} ({type(error).__name__}: {first_line(error)}); "
            "export the model again"
        ) from error
    return TextArtifact(name, config, tokenizer, file, weights, template)


def _read_weights(
    manifest: Manifest, file: ArtifactFile, config: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if file.format == "gguf-adapter":
        from inference.text.gguf_weights import read_adapted_gguf

        if "gguf-base" not in manifest.files:
            raise ValueError(
                f"{manifest.folder} has no gguf-base for its adapters; export the model again"
            )
        return read_adapted_gguf(manifest.files["gguf-base"], file, config)
    if file.format.startswith("gguf"):
        from inference.text.gguf_weights import read_gguf

        return read_gguf(file, config)
    return config, _read_safetensors(file)


def _read_safetensors(file: ArtifactFile) -> dict[str, Tensor]:
    tensors = load(file.read())
    weights = {}
    for name, tensor in tensors.items():
        if name.endswith(".scale"):
            continue
        weights[name] = tensor.float()
        if tensor.dtype == torch.int8:
            weights[name] *= tensors[f"{name}.scale"]  # (out, in) * (out, 1)
    return weights
