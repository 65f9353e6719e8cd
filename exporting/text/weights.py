"""The weights of a GPT as safetensors: exact, in bfloat16, or in 8 bits."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from lightning_modules.nets.gpt import GPT


def write_float32(net: GPT, path: Path) -> None:
    _save(net.state_dict(), path)


def write_bfloat16(net: GPT, path: Path) -> None:
    _save({name: tensor.bfloat16() for name, tensor in net.state_dict().items()}, path)


def write_int8(net: GPT, path: Path) -> None:
    """Matrices as int8 with one float32 scale per row, ``<name>.scale``; the rest as it is."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in net.state_dict().items():
        if tensor.dim() < 2:
            tensors[name] = tensor
            continue
        scale = tensor.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127  # (out, 1)
        tensors[name] = (tensor / scale).round().to(torch.int8)
        tensors[f"{name}.scale"] = scale
    _save(tensors, path)


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    # save_file would make files that only their owner can read.
    path.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}))
