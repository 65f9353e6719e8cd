"""Weights out of a GGUF file, as llama.cpp would use them."""

from typing import Any

import torch
from torch import Tensor

from inference.manifest import ArtifactFile

_MODULES = {
    "attn_norm": "norm1",
    "attn_qkv": "attn.qkv",
    "attn_output": "attn.out",
    "ffn_norm": "norm2",
    "ffn_up": "up",
    "ffn_down": "down",
}
_SINGLE = {
    "token_embd": "token",
    "position_embd": "position",
    "output_norm": "norm",
    "output": "head",
}


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
    try:
        from gguf import GGUFReader, dequantize
    except ModuleNotFoundError as error:
        raise ValueError(
            "GGUF files are read by the package gguf: make setup EXTRAS=dev,llm"
        ) from error
    file.read()  # for its checksum
    reader = GGUFReader(file.path)
    weights: dict[str, Tensor] = {}
    for tensor in reader.tensors:
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        values = values.reshape([int(size) for size in reversed(tensor.shape)])
        name, suffix = tensor.name.rsplit(".", 1)
        *block, kind = name.split(".")
        name = f"blocks.{block[1]}.{_MODULES[kind]}" if block else _SINGLE[kind]
        weights[f"{name}.{suffix}"] = values
    tokens = config["vocab_size"]
    weights["token.weight"] = weights["token.weight"][:tokens]
    tied = "head.weight" not in weights
    if not tied:
        weights["head.weight"] = weights["head.weight"][:tokens]
        weights["head.bias"] = torch.zeros(tokens)

    def field(name: str) -> int:
        return int(reader.fields[f"gpt2.{name}"].contents())

    shape = {
        "vocab_size": tokens,
        "context": field("context_length"),
        "width": field("embedding_length"),
        "hidden": field("feed_forward_length"),
        "layers": field("block_count"),
        "heads": field("attention.head_count"),
        "tied": tied,
    }
    switches = ("output_projection", "pre_norm", "gelu", "qkv_bias", "bias")
    return shape | dict.fromkeys(switches, True), weights
