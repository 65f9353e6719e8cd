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
_SINGLE = {"token_embd": "token", "position_embd": "position", "output_norm": "norm"}


def read_gguf(
    file: ArtifactFile, config: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The net that a GGUF file of architecture ``gpt2`` holds, without the end of text added.

    Returns:
        ``config`` with all biases, and float32 weights under the names of ``nets.gpt.GPT``.

    Raises:
        ValueError: the file is damaged, or the package gguf is missing.
    """
    try:
        from gguf import GGUFReader, dequantize
    except ModuleNotFoundError as error:
        raise ValueError(
            "GGUF files are read by the package gguf: pip install 'gpu-learning[llm]'"
        ) from error
    file.read()  # for its checksum
    weights = {}
    for tensor in GGUFReader(file.path).tensors:
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        values = values.reshape([int(size) for size in reversed(tensor.shape)])
        if tensor.name == "output.weight":
            continue  # the token embedding and a row for the end of text
        *block, kind = tensor.name.rsplit(".", 1)[0].split(".")
        suffix = tensor.name.rsplit(".", 1)[1]
        name = f"blocks.{block[1]}.{_MODULES[kind]}" if block else _SINGLE[kind]
        weights[f"{name}.{suffix}"] = values
    weights["token.weight"] = weights["token.weight"][: config["vocab_size"]]
    return {**config, "bias": True, "qkv_bias": True}, weights
