"""A GPT with its key-value cache as inputs and outputs of one ONNX graph."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_modules.nets.gpt import GPT


class GPTStep(nn.Module):
    """Decodes T new tokens behind P that are in the cache.

    ``forward(ids (1, T), past (L, 2, H, P, C / H))`` returns logits (1, T, V) and the cache with
    P + T positions; P may be 0.
    """

    def __init__(self, net: GPT) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        cache = _Concatenated(past, ids.shape[1])
        return self.net(ids, cache=cache), torch.stack(cache.present)


class _Concatenated:
    """A cache that is a graph's input ``past`` and, with the new positions, its output."""

    def __init__(self, past: Tensor, new: int) -> None:
        before = past.shape[3]
        self.past = past
        self.present: list[Tensor] = []
        self.positions = before + torch.arange(new, device=past.device)
        self.mask = torch.arange(before + new, device=past.device) <= self.positions[:, None]

    def update(self, k: Tensor, v: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        new = torch.cat([k, v]).transpose(1, 2)  # (2, H, T, C / H)
        self.present.append(torch.cat([self.past[layer], new], dim=2))
        k, v = self.present[-1].split(1)  # (1, H, P + T, C / H)
        return k.transpose(1, 2), v.transpose(1, 2)


def _attention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Scaled dot-product attention; that of the exporter adds operations for every case."""
    scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5  # (1, H, T, P + T)
    return scores.masked_fill(~seen, float("-inf")).softmax(dim=-1) @ v


def write_onnx(net: GPT, path: Path) -> None:
    """Writes the graph in float32; any T and P with T + P within the context.

    Raises:
        ValueError: the packages onnx or onnxscript are missing.
    """
    config = net.config
    ids = torch.zeros(1, 3, dtype=torch.long)
    past = torch.zeros(config.layers, 2, config.heads, 4, config.width // config.heads)
    most = max(config.context - 1, 8)
    shapes = {
        "ids": {1: torch.export.Dim("new", max=most)},
        "past": {3: torch.export.Dim("cached", max=most)},
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about its exporter's insides
            program = torch.export.export(GPTStep(net), (ids, past), dynamic_shapes=shapes)
            attention = torch.ops.aten.scaled_dot_product_attention.default
            program = program.run_decompositions({attention: _attention})
            for node in program.graph.nodes:  # a third of a small file, with paths of this machine
                node.meta.pop("stack_trace", None)
            torch.onnx.export(
                program,
                f=str(path),
                input_names=["ids", "past"],
                output_names=["logits", "present"],
                dynamic_shapes=shapes,  # for the names
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except ModuleNotFoundError as error:
        raise ValueError(
            f"ONNX files need the package {error.name}: make setup EXTRAS=dev,export"
        ) from error
