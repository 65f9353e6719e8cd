"""How the next token is sampled: for a batch on the device, and for one sequence as a reference."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from inference.text.options import SamplingOptions
from inference.text.transfer import to_device

__all__ = ["Sampler", "SamplingOptions", "sample_next_token"]


def sample_next_token(
    logits: Tensor,
    options: SamplingOptions,
    generator: torch.Generator,
    previous: Sequence[int] = (),
) -> int:
    """The next token of one sequence, one rule after another; :class:`Sampler` does it for a batch.

    Args:
        logits: (V,).
        options: temperature, top-k, top-p, min-p, penalties and biases.
        generator: one random number is drawn from it, also where the choice is greedy.
        previous: prompt and tokens so far, which the penalties apply to.
    """
    uniform = torch.rand(1, generator=generator)
    logits = logits.clone()
    for token, bias in options.logit_bias:
        logits[token] += bias
    seen = torch.bincount(
        torch.tensor(previous[-options.penalty_window :], dtype=torch.long), minlength=len(logits)
    )
    penalised = torch.where(
        logits > 0, logits / options.repetition_penalty, logits * options.repetition_penalty
    )
    penalised = penalised - options.presence_penalty - options.frequency_penalty * seen
    logits = torch.where(seen > 0, penalised, logits)
    if options.temperature == 0:
        return int(logits.argmax())
    logits, order = (logits.float() / options.temperature).sort(descending=True, stable=True)
    logits[options.top_k or len(logits) :] = float("-inf")
    shares = logits.softmax(dim=-1)
    kept = (shares.cumsum(0) - shares < options.top_p) & (shares >= options.min_p * shares[0])
    cumulative = (shares * kept).cumsum(0)
    chosen = int((cumulative <= uniform * cumulative[-1]).sum())
    return int(order[min(chosen, int(kept.sum()) - 1)])


class Sampler:
    """The sampling options of all slots as tensors on the device, and the sampling itself.

    Every slot has its own options and its own random numbers, one for each position, drawn on the
    host: so a completion does not depend on the device or on what else is in the batch.

    Args:
        slots: rows B of the batch.
        vocab_size: tokens V.
        context: positions of a slot.
        device: where the logits are.
    """

    def __init__(self, slots: int, vocab_size: int, context: int, device: torch.device) -> None:
        # One row per slot, so that a new request costs one copy to the device.
        row = [0.0, 1.0, 0.0, float(vocab_size), 1.0, 0.0, 0.0, 0.0]
        self._host = torch.tensor([row]).repeat(slots, 1)
        self._table = self._host.to(device)
        self.temperature, self.top_p, self.min_p, self.top_k, *penalties = self._table.split(1, 1)
        self.repetition, self.presence, self.frequency, self.window = penalties
        self.noise = torch.zeros(slots, context, device=device)
        # For the penalties: the tokens by position, and how often each is in the window.
        self.history = torch.zeros(slots, context, dtype=torch.long, device=device)
        self.counts = torch.zeros(slots, vocab_size, device=device)
        self.bias = torch.zeros(slots, vocab_size, device=device)
        # Tokens that a grammar forbids next.
        self.banned = torch.zeros(slots, vocab_size, dtype=torch.bool, device=device)
        self._rank = torch.arange(vocab_size, device=device)
        self.select_few = self.select  # may be compiled; of few, it is many small kernels

    def set(self, options: Mapping[int, SamplingOptions]) -> None:
        """Takes the options of the requests that now have these slots."""
        for slot, chosen in options.items():
            top_k = float(chosen.top_k or len(self._rank))
            row = [chosen.temperature, chosen.top_p, chosen.min_p, top_k]
            row += [chosen.repetition_penalty, chosen.presence_penalty, chosen.frequency_penalty]
            self._host[slot] = torch.tensor([*row, float(chosen.penalty_window)])
        self._table.copy_(to_device(self._host, self._table.device))

    def set_bias(self, slot: int, bias: Sequence[tuple[int, float]]) -> None:
        """Replaces what is added to the logits of a slot: pairs of a token and its bias."""
        row = torch.zeros(self.bias.shape[1])
        for token, value in bias:
            row[token] += value
        self.bias[slot] = to_device(row, self.bias.device)

    def fill(self, slots: Tensor, ids: Tensor, lengths: Tensor, noise: Tensor, fresh: bool) -> None:
        """Counts the tokens of sequences for the penalties, and takes new random numbers.

        Args:
            slots: rows of the sequences, (n,).
            ids: their tokens, (n, T); a shorter sequence is padded.
            lengths: tokens of each, (n, 1).
            noise: a random number for each position, (n, context).
            fresh: the sequences are new, nothing was counted of them yet.
        """
        self.noise.index_copy_(0, slots, noise)
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        self.history[slots[:, None], positions] = ids
        window = self.window[slots]  # (n, 1)
        inside = (positions < lengths) & ((window == 0) | (positions >= lengths - window))
        counts = torch.zeros(len(slots), self.counts.shape[1], device=ids.device)
        counts.scatter_add_(1, ids, inside.float())
        if not fresh:  # without a window what was cut off counts as well
            counts = torch.where(window == 0, self.counts[slots], counts)
        self.counts.index_copy_(0, slots, counts)

    def ban(self, slots: Tensor, allowed: Tensor) -> None:
        """Bans all tokens but ``allowed`` in slots (n,): bits (n, V / 32, rounded up) of int32."""
        bits = torch.arange(8, dtype=torch.uint8, device=allowed.device)
        each = (allowed.view(torch.uint8)[:, :, None] >> bits) & 1  # (n, bytes, 8)
        self.banned[slots] = each.flatten(1)[:, : self.banned.shape[1]] == 0

    def count(self, chosen: Tensor, positions: Tensor) -> None:
        """Counts the tokens (B,) that were sampled after those at positions (B,)."""
        position = (positions[:, None] + 1).clamp(max=self.history.shape[1] - 1)  # (B, 1)
        leaving = position - self.window.long()
        left = self.history.gather(1, leaving.clamp(min=0))
        self.counts.scatter_add_(1, left, -((self.window > 0) & (leaving >= 0)).float())
        self.history.scatter_(1, position, chosen[:, None])
        self.counts.scatter_add_(1, chosen[:, None], torch.ones_like(self.window))

    def greedy(self, logits: Tensor) -> Tensor:
        """The most likely token (B,) of logits (B, V)."""
        return logits.argmax(dim=-1)

    def adjusted(self, logits: Tensor) -> Tensor:
        """Logits (B, V) with biases and penalties, in llama.cpp's order, without banned tokens."""
        logits = logits + self.bias
        changed = torch.where(logits > 0, logits / self.repetition, logits * self.repetition)
        changed = changed - self.presence - self.frequency * self.counts
        return torch.where(self.counts > 0, changed, logits).masked_fill(self.banned, float("-inf"))

    def sample(self, logits: Tensor, positions: Tensor, largest: int = 0) -> Tensor:
        """A token (B,) by each slot's options, from logits (B, V) at positions (B,).

        Temperature, top-k, top-p, min-p, in the order of transformers. The token is the one at
        which the cumulative probability passes the slot's random number.

        Args:
            logits, positions: of the tokens that are sampled.
            largest: no slot's top-k is above this, so no more need be sorted; 0 sorts all.
        """
        if largest:  # in the logits' own type: half of it is found in half the time
            values, order = logits.topk(largest, dim=-1)  # (B, largest)
            index = self.select_few(values, positions)
        else:
            values, order = logits.sort(dim=-1, descending=True, stable=True)  # (B, V)
            index = self.select(values, positions)
        sampled = order.gather(1, index).squeeze(1)
        return torch.where(self.temperature[:, 0] > 0, sampled, logits.argmax(dim=-1))

    def select(self, values: Tensor, positions: Tensor) -> Tensor:
        """Index (B, 1) into logits (B, n), largest first, of what is sampled at positions (B,)."""
        values = values.float() / self.temperature.clamp(min=1e-5)
        values = values.masked_fill(self._rank[: values.shape[1]] >= self.top_k, float("-inf"))
        share = values.softmax(dim=-1)
        keep = (share.cumsum(dim=-1) - share < self.top_p) & (share >= self.min_p * share[:, :1])
        cumulative = (share * keep).cumsum(dim=-1)
        threshold = self.noise.gather(1, positions[:, None]) * cumulative[:, -1:]
        index = (cumulative <= threshold).sum(dim=-1, keepdim=True)
        return torch.minimum(index, keep.sum(dim=-1, keepdim=True) - 1)
