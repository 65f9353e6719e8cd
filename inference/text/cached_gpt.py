"""A GPT for inference: its net over a static key-value cache, from its weights alone."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.compiler import is_compiling

from inference.runtimes.compiled import product
from lightning_modules.nets.gpt import GPT, GPTConfig
from lightning_modules.nets.kv_cache import KVCache


class CachedGPT:
    """Computes logits for new tokens only; keys and values of earlier ones are in the cache.

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
        self.slots = slots
        self.device = torch.device(device)
        self._net = _empty(config, weights)
        weights = {name: tensor.to(self.device, dtype) for name, tensor in weights.items()}
        self._head, self._head_bias = self._rounded(weights)
        _fill(self._net, weights)
        shape = (slots, self.context, config["heads"], self.width // config["heads"])
        self._cache = KVCache(config["layers"], shape, self.device, dtype)

    def _rounded(self, weights: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the output layer, on a GPU with rows of zeros up to a round number.

        GPT-2's 50,257 rows are an odd number, and the kernels for those are five times slower. The
        weight itself becomes a part of the larger one, so it is in memory once.
        """
        name = "token" if self._net.config.tied else "head"
        weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
        more = -self.vocab_size % 64
        if self.device.type == "cuda" and more:
            weight = F.pad(weight, (0, 0, 0, more))
            weights[f"{name}.weight"] = weight[: self.vocab_size]
            bias = None if bias is None else F.pad(bias, (0, more))
        return weight, bias

    def prefill(self, ids: Tensor, rows: Tensor | None = None) -> Tensor:
        """Hidden states (B, T, C) of the first tokens of sequences.

        Args:
            ids: (B, T), T up to ``context``.
            rows: slots (B,) whose cache is filled; None leaves the cache as it is.
        """
        cache = None if rows is None else self._cache.prefill(ids.shape[1], rows)
        return self._net.hidden_states(ids, cache)

    def extend(self, ids: Tensor, slot: int, start: int) -> Tensor:
        """Hidden states (1, T, C) of the next tokens of a sequence whose beginning is in the cache.

        Args:
            ids: (1, T).
            slot: that has the sequence.
            start: tokens of it that are in the cache; ``start`` + T up to ``context``.
        """
        return self._net.hidden_states(ids, self._cache.extend(ids.shape[1], slot, start))

    def decode(self, ids: Tensor, positions: Tensor, length: int) -> Tensor:
        """Hidden states (slots, 1, C) of one more token in each slot.

        Args:
            ids: (slots, 1).
            positions: of each in its sequence, (slots, 1).
            length: positions that are attended to; above every position given.
        """
        return self._net.hidden_states(ids, self._cache.decode(positions, length))

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., vocab_size) of hidden states (..., C), in the type of the weights."""
        return _product(hidden, self._head, self._head_bias)[..., : self.vocab_size]

    @torch.inference_mode()
    def all_logits(self, ids: list[int]) -> Tensor:
        """Logits (T, vocab_size), float32, after each of up to ``context`` tokens, on the CPU."""
        tokens = torch.tensor([ids], device=self.device)
        return self.logits(self.prefill(tokens))[0].float().cpu()


def compiled_decode(model: CachedGPT) -> Callable[[Tensor, Tensor, int], Tensor]:
    """``model.decode`` compiled, without checks in every step that its net is as it was."""

    def decode(ids: Tensor, positions: Tensor, length: int) -> Tensor:
        return model.decode(ids, positions, length)

    # What is compiled is kept with a function's code. Without those checks another model of the
    # same shapes would get it, so each has a code object of its own.
    decode.__code__ = decode.__code__.replace()
    skip = torch.compiler.skip_guard_on_all_nn_modules_unsafe
    return torch.compile(decode, options={"guard_filter_fn": skip})


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return (product if is_compiling() else F.linear)(x, weight, bias)


class _Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return _product(input, self.weight, self.bias)


class _Embedding(nn.Embedding):
    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight)


def _unchanged(x: Tensor) -> Tensor:
    return x


def _fill(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Sets the weights, and makes the net one of plain objects that call ``forward`` at once.

    What nn.Module does around a forward (hooks, its own lookup of parts and parameters) is a third
    of MiniGPT's step on a CPU; and torch.compile checks each attribute that it saw in every step.
    """
    for path, module in net.named_modules():
        module.__class__ = _direct(type(module))
        for name, part in module._modules.items():
            idle = isinstance(part, (nn.Dropout, nn.Identity))
            vars(module)[name] = _unchanged if idle else part
        for name in module._parameters:
            vars(module)[name] = weights.get(f"{path}.{name}")
        module._parameters.clear()


@cache
def _direct(kind: type[nn.Module]) -> type[nn.Module]:
    kind = {nn.Linear: _Linear, nn.Embedding: _Embedding}.get(kind, kind)
    return type(kind.__name__, (kind,), {"__call__": kind.forward})


def _empty(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> GPT:
    """The net that ``weights`` belong to, in eval mode and on the device ``meta``."""
    try:
        with torch.device("meta"):  # shapes alone
            net = GPT(GPTConfig(**config)).eval()
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
    return net
