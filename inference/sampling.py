"""How the next token is chosen: the options, and the choice for a batch on the device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SamplingOptions:
    """What a caller may ask of one text.

    Args:
        max_new_tokens: most tokens that are generated.
        temperature: divides the logits; 0 always takes the likeliest token.
        top_k: only the k likeliest tokens, 0 for all.
        top_p: the fewest likeliest tokens that have this share of the probability together
            (A. Holtzman et al., The curious case of neural text degeneration, 2020).
        min_p: only tokens with at least this share of the likeliest one's probability
            (M. Nguyen et al., Turning up the heat: min-p sampling, 2024).
        repetition_penalty: above 1, tokens that occurred already get less likely
            (N. Keskar et al., CTRL, 2019).
        presence_penalty: taken from the logit of a token that occurred already.
        frequency_penalty: the same for each time that it did.
        penalty_window: last tokens that the three penalties look at, 0 for all.
        stop: strings that end the text; they are not part of it.
        seed: the same seed gives the same text; None for another text each time.
        window: positions of the context that are used, 0 for all that the model has.
        keep: tokens of the beginning that stay where a text outgrows the window.
        shift: go on with the end of a text that outgrows the window; otherwise it ends there.
        json: write one JSON object and nothing else.

    Raises:
        ValueError: a value outside its range.
    """

    max_new_tokens: int = 60
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_window: int = 0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    window: int = 0
    keep: int = 0
    shift: bool = True
    json: bool = False

    def __post_init__(self) -> None:
        limits = (
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            ("temperature", 0 <= self.temperature < float("inf"), "0 (greedy) or more, and finite"),
            ("top_k", self.top_k >= 0, "0 (all tokens) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < float("inf"), "above 0"),
            ("presence_penalty", abs(self.presence_penalty) < float("inf"), "a finite number"),
            ("frequency_penalty", abs(self.frequency_penalty) < float("inf"), "a finite number"),
            ("penalty_window", self.penalty_window >= 0, "0 (all tokens) or more"),
            ("window", self.window >= 0, "0 (the model's context) or more"),
            ("keep", self.keep >= 0, "0 or more"),
            ("seed", self.seed is None or -(2**63) <= self.seed < 2**64, "a number of 64 bits"),
        )
        for name, fits, must in limits:
            if not fits:
                raise ValueError(f"{name} must be {must}, got {getattr(self, name)}")
        if any(not stop for stop in self.stop):
            raise ValueError("a stop string must not be empty")

    @property
    def adjusted(self) -> bool:
        """Whether logits are changed by what the text is so far."""
        penalties = self.repetition_penalty != 1 or self.presence_penalty or self.frequency_penalty
        return self.json or bool(penalties)

    def fit(self, ids: Sequence[int], size: int) -> list[int]:
        """At most ``size`` tokens of a text: the first ``keep``, and the end."""
        if len(ids) <= size:
            return list(ids)
        keep = min(self.keep, size // 2)
        return [*ids[:keep], *ids[len(ids) - size + keep :]]


class Choice:
    """The sampling options of all slots as tensors on the device, and the choice itself.

    Every slot has its own options and its own random numbers, one for each position, drawn on the
    host: so a text does not depend on the device or on what else is in the batch.

    Args:
        slots: rows B of the batch.
        vocab_size: tokens V.
        context: positions of a slot.
        device: where the logits are.
    """

    def __init__(self, slots: int, vocab_size: int, context: int, device: torch.device) -> None:
        # One row a slot, so that a new text costs one copy to the device.
        row = [0.0, 1.0, 0.0, float(vocab_size), 1.0, 0.0, 0.0, 0.0]
        self._host = torch.tensor([row]).repeat(slots, 1)
        self._table = self._host.to(device)
        self.temperature, self.top_p, self.min_p, self.top_k, *penalties = self._table.split(1, 1)
        self.repetition, self.presence, self.frequency, self.window = penalties
        self.noise = torch.zeros(slots, context, device=device)
        # What the penalties look at: the tokens by position, and how often each is in the window.
        self.history = torch.zeros(slots, context, dtype=torch.long, device=device)
        self.counts = torch.zeros(slots, vocab_size, device=device)
        # Tokens that would make something else than JSON of a text.
        self.banned = torch.zeros(slots, vocab_size, dtype=torch.bool, device=device)
        self._rank = torch.arange(vocab_size, device=device)
        self.place_few = self.place  # may be compiled; of few, it is many small kernels

    def set(self, options: Mapping[int, SamplingOptions]) -> None:
        """Takes the options of the texts that now have these slots."""
        for slot, asked in options.items():
            top_k = float(asked.top_k or len(self._rank))
            row = [asked.temperature, asked.top_p, asked.min_p, top_k]
            row += [asked.repetition_penalty, asked.presence_penalty, asked.frequency_penalty]
            self._host[slot] = torch.tensor([*row, float(asked.penalty_window)])
        self._table.copy_(self._host)

    def fill(self, slots: Tensor, ids: Tensor, lengths: Tensor, noise: Tensor, fresh: bool) -> None:
        """What the tokens of texts change: they were seen, and there are new random numbers.

        Args:
            slots: where the texts are, (n,).
            ids: their tokens, (n, T); a shorter text is padded.
            lengths: tokens of each, (n, 1).
            noise: a random number for each position, (n, context).
            fresh: the texts are new, nothing was seen of them yet.
        """
        self.noise.index_copy_(0, slots, noise)
        places = torch.arange(ids.shape[1], device=ids.device)[None]
        self.history[slots[:, None], places] = ids
        window = self.window[slots]  # (n, 1)
        inside = (places < lengths) & ((window == 0) | (places >= lengths - window))
        counts = torch.zeros(len(slots), self.counts.shape[1], device=ids.device)
        counts.scatter_add_(1, ids, inside.float())
        if not fresh:  # a text that looks at all of itself also looks at what was cut off
            counts = torch.where(window == 0, self.counts[slots], counts)
        self.counts.index_copy_(0, slots, counts)

    def note(self, chosen: Tensor, positions: Tensor) -> None:
        """Takes down the tokens (B,) that were chosen after those at positions (B,)."""
        place = (positions[:, None] + 1).clamp(max=self.history.shape[1] - 1)  # (B, 1)
        leaving = place - self.window.long()
        left = self.history.gather(1, leaving.clamp(min=0))
        self.counts.scatter_add_(1, left, -((self.window > 0) & (leaving >= 0)).float())
        self.history.scatter_(1, place, chosen[:, None])
        self.counts.scatter_add_(1, chosen[:, None], torch.ones_like(self.window))

    def greedy(self, logits: Tensor) -> Tensor:
        """The likeliest token (B,) of logits (B, V)."""
        return logits.argmax(dim=-1)

    def adjusted(self, logits: Tensor) -> Tensor:
        """Logits (B, V) less what the tokens seen lose, in the way of llama.cpp, and no banned."""
        changed = torch.where(logits > 0, logits / self.repetition, logits * self.repetition)
        changed = changed - self.presence - self.frequency * self.counts
        return torch.where(self.counts > 0, changed, logits).masked_fill(self.banned, float("-inf"))

    def sample(self, logits: Tensor, positions: Tensor, likeliest: int = 0) -> Tensor:
        """A token (B,) by each slot's options, from logits (B, V) at positions (B,).

        Temperature, top-k, top-p, min-p, in the order of transformers. The choice is the place
        where the cumulative probability passes the slot's random number.

        Args:
            logits, positions: of the tokens that are chosen.
            likeliest: no slot's top-k is above this, so no more need be sorted; 0 sorts all.
        """
        if likeliest:  # in the logits' own type: half of it is found in half the time
            values, order = logits.topk(likeliest, dim=-1)  # (B, likeliest)
            place = self.place_few(values, positions)
        else:
            values, order = logits.sort(dim=-1, descending=True, stable=True)  # (B, V)
            place = self.place(values, positions)
        sampled = order.gather(1, place).squeeze(1)
        return torch.where(self.temperature[:, 0] > 0, sampled, logits.argmax(dim=-1))

    def place(self, values: Tensor, positions: Tensor) -> Tensor:
        """Which (B, 1) of the logits (B, n), largest first, is chosen at positions (B,)."""
        values = values.float() / self.temperature.clamp(min=1e-5)
        values = values.masked_fill(self._rank[: values.shape[1]] >= self.top_k, float("-inf"))
        share = values.softmax(dim=-1)
        keep = (share.cumsum(dim=-1) - share < self.top_p) & (share >= self.min_p * share[:, :1])
        cumulative = (share * keep).cumsum(dim=-1)
        threshold = self.noise.gather(1, positions[:, None]) * cumulative[:, -1:]
        place = (cumulative <= threshold).sum(dim=-1, keepdim=True)
        return torch.minimum(place, keep.sum(dim=-1, keepdim=True) - 1)
