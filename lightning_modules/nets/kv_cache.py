"""What a GPT's forward pass asks of a key-value cache, and the static one of inference."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Cache(Protocol):
    """What attention asks of the keys and values of earlier tokens, as of transformers' ``Cache``.

    For one forward pass over new tokens: their ``positions`` (T), (1, T) or (B, T), the ``mask`` of
    the scores, None for causal attention among them, and ``update``, which keeps a layer's new keys
    and values (B, T, H, D) and returns those to attend to.
    """

    @property
    def positions(self) -> Tensor: ...

    @property
    def mask(self) -> Tensor | None: ...

    def update(self, k: Tensor, v: Tensor, layer: int) -> tuple[Tensor, Tensor]: ...


def check_length(length: int, context: int) -> None:
    """Refuses a sequence that is longer than the context with a ValueError."""
    # For torch.jit.trace, which draws TensorBoard's graph page, a length is a tensor.
    if isinstance(length, int) and length > context:
        raise ValueError(
            f"a sequence of {length} tokens is longer than the model's context of {context}; "
            "shorten it"
        )


class KVCache:
    """Keys and values of several sequences, each in a slot of its own.

    A slot and position have a fixed address, so that a CUDA graph can be captured over them. A
    token attends to the positions up to its own: what is beyond, from padding or an earlier
    sequence, is overwritten before. More positions than the context has are a ValueError.

    Args:
        layers: blocks of the net.
        shape: (slots, context, H, D) of a layer's keys: sequences, positions of each, attention
            heads, size of a head's vectors.
        device, dtype: of keys and values.
    """

    def __init__(
        self,
        layers: int,
        shape: tuple[int, int, int, int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        def empty() -> Tensor:
            return torch.zeros(shape, device=device, dtype=dtype)

        # Tensors of their own: torch.compile writes in place into a tensor that it is given; of a
        # view, it would make a copy of the whole cache in every step.
        self.layers = [(empty(), empty()) for _ in range(layers)]
        slots, self.context = shape[:2]
        self.dtype = dtype
        self._all_positions = torch.arange(self.context, device=device)
        self._slots = torch.arange(slots, device=device)[:, None]

    def prefill(self, length: int, rows: Tensor) -> "CacheView":
        """For the first ``length`` tokens of the sequences in slots ``rows`` (B,)."""
        return CacheView(self, self._positions(0, length), rows)

    def extend(self, length: int, slot: int, start: int) -> "CacheView":
        """For the next ``length`` tokens of a slot of whose sequence ``start`` are in the cache."""
        positions = self._positions(start, start + length)
        rows = torch.tensor([slot], device=positions.device)
        return CacheView(self, positions, rows, self._mask(positions, start + length))

    def decode(self, positions: Tensor, length: int) -> "CacheView":
        """For one more token in each slot.

        Args:
            positions: of each in its sequence, (slots, 1).
            length: positions that are attended to; above every position given.
        """
        check_length(length, self.context)
        return CacheView(self, positions, None, self._mask(positions, length))

    def _positions(self, start: int, end: int) -> Tensor:
        check_length(end, self.context)
        return self._all_positions[start:end][None]

    def _mask(self, positions: Tensor, length: int) -> Tensor:
        seen = (self._all_positions[:length] <= positions[:, :, None])[:, None]
        # Added to the scores; every layer would make this of a boolean mask for itself.
        return torch.where(seen, 0.0, float("-inf")).to(self.dtype)


@dataclass
class CacheView:
    """What one forward pass reads and writes of a :class:`KVCache`; a :class:`Cache`.

    Made for each pass: what torch.compile finds assigned to an object that outlives a graph, it
    returns from the graph.

    Args:
        cache: of all slots.
        positions: of the new tokens, (1 or B, T).
        rows: their slots (B,), None for all.
        mask: added to the scores, (B, 1, T, length); None for a prefill, which attends to itself.
    """

    cache: KVCache
    positions: Tensor
    rows: Tensor | None
    mask: Tensor | None = None

    def update(self, k: Tensor, v: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Writes keys and values (B, T, H, D); returns those to attend to, (B, length, H, D)."""
        keys, values = self.cache.layers[layer]
        rows = self.rows
        if self.mask is None:
            keys[rows, : k.shape[1]] = k
            values[rows, : k.shape[1]] = v
            return k, v
        slots = self.cache._slots if rows is None else rows[:, None]
        keys.index_put_((slots, self.positions), k)
        values.index_put_((slots, self.positions), v)
        length = self.mask.shape[-1]
        k, v = keys[:, :length], values[:, :length]
        return (k, v) if rows is None else (k[rows], v[rows])
