"""What a manifest says, in Ollama's words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from inference.manifest import Manifest
from inference.text.templates import as_ollama
from serving.template import Template
from serving.wire import timestamp

GENERATE, EMBED, CLASSIFY = "completion", "embedding", "vision-classification"
_TASKS = {"text-generation": [GENERATE], "image-classification": [CLASSIFY]}
# The files of a language model that show hidden states: ONNX Runtime shows none.
SHOWING = ("safetensors", "bf16", "int8", "gguf", "gguf-q8", "gguf-adapter")
# By preference, as inference takes them: see inference.text.artifact and inference.load.
_PRECISION = {
    "safetensors": "F32",
    "bf16": "BF16",
    "int8": "I8",
    "gguf": "F16",
    "gguf-q8": "Q8_0",
    "onnx": "F32",
    "onnx-int8": "I8",
    "torchscript": "F32",
    "pt2": "F32",
    "executorch": "F32",
    "executorch-int8": "I8",
    "pt2-fp16": "F16",
    "pth": "F32",
}
# A net with all of these on is GPT-2's architecture.
_GPT2 = ("pre_norm", "gelu", "output_projection", "qkv_bias", "bias")


@dataclass(frozen=True)
class Artifact:
    """A model of the folder; ``digest`` changes with everything that the manifest says."""

    manifest: Manifest
    modified_ns: int

    @classmethod
    def of(cls, manifest: Manifest, modified_ns: int) -> Artifact:
        """Raises ValueError for a template in the manifest that cannot be read."""
        artifact = cls(manifest, modified_ns)
        _ = artifact.template
        return artifact

    @property
    def name(self) -> str:
        return self.manifest.folder.name

    @property
    def full_name(self) -> str:
        return f"{self.name}:latest"

    @property
    def digest(self) -> str:
        return self.manifest.document["checksum"]

    @property
    def modified_at(self) -> str:
        return timestamp(self.modified_ns)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.manifest.files.values())

    @property
    def capabilities(self) -> list[str]:
        found = list(_TASKS.get(self.manifest.task, []))
        if GENERATE in found and any(name in self.manifest.files for name in SHOWING):
            found.append(EMBED)
        return found

    @cached_property
    def template(self) -> Template:
        source = self.manifest.document.get("prompt_template")
        if not (source is None or isinstance(source, str)):
            raise ValueError("the manifest's prompt_template is not a string")
        return Template(as_ollama(source))

    @property
    def architecture(self) -> str:
        config = self.manifest.document.get("config")
        if not isinstance(config, dict):
            return str(self.manifest.document.get("model", "net")).rpartition(".")[2].lower()
        return "gpt2" if all(config.get(name) for name in _GPT2) else "minigpt"

    @property
    def count(self) -> int:
        return int(self.manifest.document.get("parameters") or 0)

    @property
    def context(self) -> int:
        return int(self.manifest.document["config"]["context"])

    @cached_property
    def details(self) -> dict[str, Any]:
        kind = next((name for name in _PRECISION if name in self.manifest.files), "")
        details: dict[str, Any] = {
            "parent_model": "",
            "format": kind,
            "family": self.architecture,
            "families": [self.architecture],
            "parameter_size": _human(self.count),
            "quantization_level": _PRECISION.get(kind, ""),
        }
        if self.manifest.task == "text-generation":
            details["context_length"] = self.context
            details["embedding_length"] = self.manifest.document["config"]["width"]
        if self.manifest.task == "image-classification":
            details["net"] = str(self.manifest.document.get("model", "")).rpartition(".")[2]
            details["labels"] = list(self.manifest.labels or ())
            details["preprocessing"] = self.manifest.preprocessing
        return details


def _human(count: int) -> str:
    """124,439,808 becomes 124.44M, as Ollama writes it."""
    if count >= 10**9:
        return f"{count / 1e9:.1f}B".replace(".0B", "B")
    if count >= 10**6:
        return f"{count / 1e6:.2f}M".replace(".00M", "M")
    return f"{count / 1e3:.0f}K" if count >= 1000 else str(count)
