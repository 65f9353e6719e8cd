"""A GPT's forward pass over a static key-value cache, from its weights alone."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.runtimes.compiled import product
from lightning_modules.nets.gpt import GPT, GPTConfig


class CachedGPT:
    """Computes logits for new tokens only; keys and values of earlier ones are in the cache.

    The cache has a fixed address for each slot and position, so that a CUDA graph can be captured
    over it. A token attends to the positions up to its own: what is beyond, from padding or an
    earlier sequence, is overwritten before. For the inference of what ``nets.gpt.GPT`` trains; the
    names of the weights are the same.

    Args:
        config: the fields of the net's ``GPTConfig``.
        weights: its state dict.
        slots: sequences B of the decode batch.
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
        self._head, self._head_bias = self._rounded("token" if self.tied else "head")
        self._cache = self._new_cache()
        self._all_positions = torch.arange(self.context, device=self.device)
        self._slots = torch.arange(slots, device=self.device)[:, None]

    def _rounded(self, name: str) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the output layer, on a GPU with rows of zeros up to a round number.

        GPT-2's 50,257 rows are an odd number, and the kernels for those are five times slower. The
        weight itself becomes a part of the larger one, so it is in memory once.
        """
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        more = -self.vocab_size % 64
        if self.device.type == "cuda" and more:
            weight = F.pad(weight, (0, 0, 0, more))
            self.weights[f"{name}.weight"] = weight[: self.vocab_size]
            bias = None if bias is None else F.pad(bias, (0, more))
        return weight, bias

    def _new_cache(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of each layer: tensors of their own.

        torch.compile writes in place into a tensor that it is given; of a view, it would make a
        copy of the whole cache in every step.
        """
        shape = (self.slots, self.context, self.heads, self.width // self.heads)

        def empty() -> Tensor:
            return torch.zeros(shape, device=self.device, dtype=self.dtype)

        return [(empty(), empty()) for _ in range(self.layers)]

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return _product(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        return F.layer_norm(x, (self.width,), weight, bias)

    def _attend(
        self, x: Tensor, layer: int, rows: Tensor | None, positions: Tensor, mask: Tensor | None
    ) -> Tensor:
        name = f"blocks.{layer}.attn"
        qkv = self._linear(x, f"{name}.qkv").unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.unbind(2)  # (B, T, H, C / H)
        keys, values = self._cache[layer]
        if mask is not None:
            slots = self._slots if rows is None else rows[:, None]
            keys.index_put_((slots, positions), k)
            values.index_put_((slots, positions), v)
            k, v = keys[:, : mask.shape[-1]], values[:, : mask.shape[-1]]
            if rows is not None:
                k, v = k[rows], v[rows]
        elif rows is not None:
            keys[rows, : x.shape[1]] = k
            values[rows, : x.shape[1]] = v
        q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
        # A prefill attends to itself alone. (B, H, T, C / H)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        x = x.transpose(1, 2).flatten(2)
        return self._linear(x, f"{name}.out") if f"{name}.out.weight" in self.weights else x

    def _mlp(self, x: Tensor, layer: int) -> Tensor:
        x = self._linear(x, f"blocks.{layer}.up")
        x = F.gelu(x, approximate="tanh") if self.gelu else F.relu(x)
        return self._linear(x, f"blocks.{layer}.down")

    def prefill(self, ids: Tensor, rows: Tensor | None = None) -> Tensor:
        """Hidden states (B, T, C) of the first tokens of sequences.

        Args:
            ids: (B, T), T up to ``context``.
            rows: slots (B,) whose cache is filled; None leaves the cache as it is.
        """
        return self._blocks(ids, self._all_positions[: ids.shape[1]][None], rows, None)

    def extend(self, ids: Tensor, slot: int, start: int) -> Tensor:
        """Hidden states (1, T, C) of the next tokens of a sequence whose beginning is in the cache.

        Args:
            ids: (1, T).
            slot: that has the sequence.
            start: tokens of it that are in the cache; ``start`` + T up to ``context``.
        """
        positions = self._all_positions[start : start + ids.shape[1]][None]
        rows = torch.tensor([slot], device=self.device)
        return self._blocks(ids, positions, rows, self._mask(positions, start + ids.shape[1]))

    def decode(self, ids: Tensor, positions: Tensor, length: int) -> Tensor:
        """Hidden states (slots, 1, C) of one more token in each slot.

        Args:
            ids: (slots, 1).
            positions: of each in its sequence, (slots, 1).
            length: positions that are attended to; above every position given.
        """
        return self._blocks(ids, positions, None, self._mask(positions, length))

    def _mask(self, positions: Tensor, length: int) -> Tensor:
        """What attention adds to the scores of queries at positions (B, T): (B, 1, T, length)."""
        seen = (self._all_positions[:length] <= positions[:, :, None])[:, None]
        # Added to the scores; every layer would make this of a boolean mask for itself.
        return torch.where(seen, 0.0, float("-inf")).to(self.dtype)

    def _blocks(
        self, ids: Tensor, positions: Tensor, rows: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        x = F.embedding(ids, self.weights["token.weight"])
        x = x + F.embedding(positions, self.weights["position.weight"])
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
        """Logits (..., vocab_size) of hidden states (..., C), in the type of the weights."""
        return _product(hidden, self._head, self._head_bias)[..., : self.vocab_size]

    @torch.inference_mode()
    def all_logits(self, ids: list[int]) -> Tensor:
        """Logits (T, vocab_size), float32, after each of up to ``context`` tokens, on the CPU."""
        tokens = torch.tensor([ids], device=self.device)
        return self.logits(self.prefill(tokens))[0].float().cpu()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return (product if torch.compiler.is_compiling() else F.linear)(x, weight, bias)


def _check(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    try:
        with torch.device("meta"):  # shapes alone
            net = GPT(GPTConfig(**config))
    except TypeError as error:
        raise ValueError(
            f"the config is not one of a GPT ({error}); export the model again"
        ) from error
    expected = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    for name in expected.keys() | weights.keys():
        found = tuple(weights[name].shape) if name in weights else "missing"
        if found != expected.get(name, "absent"):
            raise ValueError(
                f"the weights do not belong to this manifest: {name} should be "
                f"{expected.get(name, 'absent')} and is {found}; export the model again"
            )
