"""A GPT with its key-value cache as inputs and outputs of one ONNX graph."""

import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.nets.gpt import GPT, Block


class GPTStep(nn.Module):
    """Decodes T new tokens behind P that are in the cache.

    ``forward(ids (1, T), past (L, 2, H, P, C / H))`` returns logits (1, T, V) and the cache with
    P + T positions; P may be 0.
    """

    def __init__(self, net: GPT) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        net, before = self.net, past.shape[3]
        positions = before + torch.arange(ids.shape[1], device=ids.device)
        seen = torch.arange(before + ids.shape[1], device=ids.device) <= positions[:, None]
        x = net.token(ids) + net.position(positions)
        caches = []
        for layer, block in enumerate(net.blocks):
            assert isinstance(block, Block)
            attended = block.norm1(x) if block.pre_norm else x
            attended, cache = _attend(block, attended, past[layer], seen)
            caches.append(cache)
            if block.pre_norm:
                x = x + attended
                x = x + block.mlp(block.norm2(x))
            else:
                x = block.norm1(x + attended)
                x = block.norm2(x + block.mlp(x))
        if net.config.pre_norm:
            x = net.norm(x)
        logits = F.linear(x, net.token.weight) if net.config.tied else net.head(x)
        return logits, torch.stack(caches)


def _attend(block: Block, x: Tensor, past: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = block.attn.split(x)  # (1, H, T, C / H)
    cache = torch.cat([past, torch.cat([k, v])], dim=2)  # (2, H, P + T, C / H)
    # Written out: the exporter's own scaled_dot_product_attention adds checks for every shape.
    scores = q[0] @ cache[0].transpose(1, 2) / q.shape[-1] ** 0.5  # (H, T, P + T)
    scores = scores.masked_fill(~seen, float("-inf"))
    x = (scores.softmax(dim=-1) @ cache[1]).transpose(0, 1).flatten(1)[None]
    return block.attn.out(x), cache


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
            torch.onnx.export(
                GPTStep(net),
                (ids, past),
                str(path),
                input_names=["ids", "past"],
                output_names=["logits", "present"],
                dynamic_shapes=shapes,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except ModuleNotFoundError as error:
        raise ValueError(
            f"ONNX files need the package {error.name}: make setup EXTRAS=dev,export"
        ) from error
