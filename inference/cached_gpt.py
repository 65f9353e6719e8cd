"""A GPT's forward pass over a static key-value cache, from its weights alone."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.compiled import product


class CachedGPT:
    """Computes logits for new tokens only; keys and values of earlier ones are in the cache.

    The cache has a fixed place for each slot and position, so a CUDA graph can be captured over it.
    A token reads the positions up to its own: what lies beyond, from padding or an earlier text, is
    overwritten before it can be read. For the inference of what ``nets.gpt.GPT`` trains; the names
    of the weights are the same.

    Args:
        config: the fields of the net's ``GPTConfig``.
        weights: its state dict.
        slots: texts B that can be in the works at once.
        device: where to compute.
        dtype: type of weights and cache.

    Raises:
        ValueError: weights that are missing or of another shape than ``config`` says.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        slots: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.context: int = config["context"]
        self.vocab_size: int = config["vocab_size"]
        self.width: int = config["width"]
        self.heads: int = config["heads"]
        self.layers: int = config["layers"]
        self.pre_norm: bool = config["pre_norm"]
        self.gelu: bool = config["gelu"]
        self.tied: bool = config["tied"]
        self.slots = slots
        self.device = torch.device(device)
        self.dtype = dtype
        _check(config, weights)
        self.weights = {name: tensor.to(self.device, dtype) for name, tensor in weights.items()}
        self._cache = self._new_cache()
        self._places = torch.arange(self.context, device=self.device)

    def _new_cache(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of each layer: tensors of their own.

        torch.compile writes in place into a tensor that it is given; of a view, it would make a
        copy of the whole cache in every step.
        """
        shape = (self.slots, self.context, self.heads, self.width // self.heads)

        def empty() -> Tensor:
            return torch.zeros(shape, device=self.device, dtype=self.dtype)

        return [(empty(), empty()) for _ in range(self.layers)]

    def twin(self) -> "CachedGPT":
        """The same weights, with one slot of its own."""
        other = copy.copy(self)
        other.slots = 1
        other._cache = other._new_cache()
        return other

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return _product(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        return F.layer_norm(x, (self.width,), weight, bias)

    def _attend(
        self, x: Tensor, layer: int, rows: Tensor, positions: Tensor, mask: Tensor
    ) -> Tensor:
        name = f"blocks.{layer}.attn"
        qkv = self._linear(x, f"{name}.qkv").unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.unbind(2)  # (B, T, H, C / H)
        keys, values = self._cache[layer]
        keys.index_put_((rows, positions), k)
        values.index_put_((rows, positions), v)
        length = mask.shape[-1]
        if len(x) == self.slots:
            keys, values = keys[:, :length], values[:, :length]
        else:
            keys, values = keys[rows[:, 0], :length], values[rows[:, 0], :length]
        q, keys, values = (tensor.transpose(1, 2) for tensor in (q, keys, values))
        x = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)  # (B, H, T, C / H)
        x = x.transpose(1, 2).flatten(2)
        return self._linear(x, f"{name}.out") if f"{name}.out.weight" in self.weights else x

    def _mlp(self, x: Tensor, layer: int) -> Tensor:
        x = self._linear(x, f"blocks.{layer}.up")
        x = F.gelu(x, approximate="tanh") if self.gelu else F.relu(x)
        return self._linear(x, f"blocks.{layer}.down")

    def hidden(self, ids: Tensor, positions: Tensor, rows: Tensor, length: int) -> Tensor:
        """Reads tokens into the cache and gives their vectors (B, T, C).

        Args:
            ids: (B, T).
            positions: place of each in its text, (B, T).
            rows: slot of each row, (B, 1); all slots in order where B is their number.
            length: positions that are looked at; above every position given.
        """
        weights = self.weights
        seen = (self._places[:length] <= positions[:, :, None])[:, None]  # (B, 1, T, length)
        # Added to the scores; every layer would make this of a boolean mask for itself.
        mask = torch.where(seen, 0.0, float("-inf")).to(self.dtype)
        x = F.embedding(ids, weights["token.weight"])
        x = x + F.embedding(positions, weights["position.weight"])
        for layer in range(self.layers):
            block = f"blocks.{layer}"
            if self.pre_norm:
                normed = self._norm(x, f"{block}.norm1")
                x = x + self._attend(normed, layer, rows, positions, mask)
                x = x + self._mlp(self._norm(x, f"{block}.norm2"), layer)
            else:
                x = self._norm(x + self._attend(x, layer, rows, positions, mask), f"{block}.norm1")
                x = self._norm(x + self._mlp(x, layer), f"{block}.norm2")
        return self._norm(x, "norm") if self.pre_norm else x

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., vocab_size), float32, of vectors (..., C)."""
        if self.tied:
            return _product(hidden, self.weights["token.weight"], None).float()
        return self._linear(hidden, "head").float()

    @torch.inference_mode()
    def all_logits(self, ids: list[int]) -> Tensor:
        """Logits (T, vocab_size) after each of up to ``context`` tokens, on the CPU."""
        tokens = torch.tensor([ids], device=self.device)
        positions = self._places[None, : len(ids)]
        rows = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        return self.logits(self.hidden(tokens, positions, rows, len(ids)))[0].cpu()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return (product if torch.compiler.is_compiling() else F.linear)(x, weight, bias)


def _check(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    width, vocab = config["width"], config["vocab_size"]
    hidden = config["hidden"] or 4 * width
    bias, qkv_bias = config["bias"], config["qkv_bias"]
    modules: dict[str, tuple[tuple[int, ...], bool]] = {
        "token": ((vocab, width), False),
        "position": ((config["context"], width), False),
    }
    for layer in range(config["layers"]):
        block = f"blocks.{layer}"
        modules[f"{block}.norm1"] = modules[f"{block}.norm2"] = ((width,), bias)
        modules[f"{block}.attn.qkv"] = ((3 * width, width), qkv_bias)
        modules[f"{block}.up"] = ((hidden, width), bias)
        modules[f"{block}.down"] = ((width, hidden), bias)
        if config["output_projection"]:
            modules[f"{block}.attn.out"] = ((width, width), bias)
    if config["pre_norm"]:
        modules["norm"] = ((width,), bias)
    if not config["tied"]:
        modules["head"] = ((vocab, width), bias)
    expected = {f"{name}.weight": shape for name, (shape, _) in modules.items()}
    expected |= {f"{name}.bias": shape[:1] for name, (shape, has) in modules.items() if has}
    for name in expected.keys() | weights.keys():
        found = tuple(weights[name].shape) if name in weights else "missing"
        if found != expected.get(name, "absent"):
            raise ValueError(
                f"the weights do not belong to this manifest: {name} should be "
                f"{expected.get(name, 'absent')} and is {found}; export the model again"
            )
