"""Weights out of a GGUF file, as llama.cpp would use them."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from inference.manifest import ArtifactFile
from inference.runtimes.runtime import first_line
from lightning_modules.nets.gpt import GPT2_SWITCHES, GPTConfig
from lightning_modules.nets.gpt2 import gpt2_modules


def read_gguf(
    file: ArtifactFile, config: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The net that a GGUF file of architecture ``gpt2`` holds, without the end of text added.

    Returns:
        Its config, which is another than the trained net's where that was rewritten, and float32
        weights under the names of ``nets.gpt.GPT``.

    Raises:
        ValueError: the file is damaged, or the package gguf is missing.
    """
    reader = _open(file)

    def field(name: str) -> int:
        return int(reader.fields[f"gpt2.{name}"].contents())

    layers, tokens = field("block_count"), config["vocab_size"]
    names = _our_names(layers)
    weights: dict[str, Tensor] = {}
    for key, values in _tensors(reader):
        name, suffix = key.rsplit(".", 1)
        weights[f"{names[name]}.{suffix}"] = values
    weights["token.weight"] = weights["token.weight"][:tokens]
    tied = "head.weight" not in weights
    if not tied:
        weights["head.weight"] = weights["head.weight"][:tokens]
        weights["head.bias"] = torch.zeros(tokens)
    shape = GPTConfig(
        vocab_size=tokens,
        context=field("context_length"),
        width=field("embedding_length"),
        hidden=field("feed_forward_length"),
        layers=layers,
        heads=field("attention.head_count"),
        **GPT2_SWITCHES | {"tied": tied},
    )
    return asdict(shape), weights


def read_adapted_gguf(
    base: ArtifactFile, adapter: ArtifactFile, config: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The net of a GGUF file with what a GGUF file of low-rank adapters adds to it.

    Raises:
        ValueError: as :func:`read_gguf` does.
    """
    config, weights = read_gguf(base, config)
    reader = _open(adapter)
    alpha = float(reader.fields["adapter.lora.alpha"].contents())
    parts, names = dict(_tensors(reader)), _our_names(config["layers"])
    for key, down in parts.items():
        name, suffix = key.rsplit(".weight.", 1)
        if suffix == "lora_a":
            up = parts[f"{name}.weight.lora_b"]  # (out, r); down is (r, in)
            ours = f"{names[name]}.weight"
            weights[ours] = weights[ours] + up @ down * (alpha / len(down))
    return config, weights


def _open(file: ArtifactFile) -> Any:
    try:
        from gguf import GGUFReader
    except ModuleNotFoundError as error:
        raise ValueError(
            "GGUF files are read by the package gguf: make setup EXTRAS=dev,llm"
        ) from error
    file.read()  # for its checksum
    try:
        return GGUFReader(file.path)
    except Exception as error:  # a file of another kind makes it raise many kinds
        raise ValueError(
            f"{file.path} cannot be read as GGUF ({first_line(error)}); export the model again"
        ) from error


def _tensors(reader: Any) -> Iterator[tuple[str, Tensor]]:
    """Name and float32 values, in rows as torch has them, of each tensor."""
    from gguf import dequantize

    for tensor in reader.tensors:
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        yield tensor.name, values.reshape([int(size) for size in reversed(tensor.shape)])


def _our_names(layers: int) -> dict[str, str]:
    return {module.gguf: module.ours for module in gpt2_modules(layers)}
