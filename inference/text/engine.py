"""Decodes several sequences at once, one token of each per step; on a GPU as a CUDA graph."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.cuda_graph import captured
from inference.text.cached_gpt import CachedGPT, compiled_decode
from inference.text.fused_gpt import FusedGPT
from inference.text.sampling import Sampler, SamplingOptions
from inference.text.scores import Scores, score_prompt
from inference.text.slot import Slot
from inference.text.step import Step
from inference.text.transfer import to_device

# A graph attends to a fixed number of positions; a short sequence should not pay for the context.
SHORTEST = 128
# Prompts up to these lengths are prefilled by graphs, too: on the host, the launches of a short one
# cost as much as those of a long one.
PREFILL_LENGTHS = (16, 64)
# Ways to sample: the most likely token; by sorting all tokens; by sorting this many of them,
# which is enough where every request has a smaller top-k, and much faster.
GREEDY, ALL, TOP = -1, 0, 64


class DecodeEngine:
    """Steps a :class:`CachedGPT` and samples the tokens, all on the device.

    :meth:`start` prefills the slots that took a generation, at any time between two steps, and
    every :meth:`step` yields one token for each slot. On a GPU a step is the replay of a CUDA
    graph, and :meth:`Step.read` of one step can wait while the next one runs. What a slot's cache
    has of a prompt already (``Slot.reused``) is not prefilled again.

    Args:
        model: the net with its cache.
        vocab_size: tokens of the tokenizer. A model may have more, to fill its vocabulary up to a
            round number; those are never sampled.
        cache: with false the whole sequence is computed again for every token, as a loop without a
            cache does; for comparison, with one slot.
        compile: compile the step with torch.compile before it is captured; takes about a minute.
            Of a :class:`FusedGPT` it compiles what samples alone.

    Raises:
        ValueError: several slots without a cache.
    """

    def __init__(
        self, model: CachedGPT, vocab_size: int, cache: bool = True, compile: bool = False
    ) -> None:
        if not cache and model.slots > 1:
            raise ValueError("without a cache there is one slot; ask for slots=1")
        self.model = model
        self.vocab_size = vocab_size
        self.slots = [Slot(index, model.context) for index in range(model.slots)]
        self.cache = cache
        self.device = model.device
        self._there = partial(to_device, device=self.device)
        self.lag = int(self.device.type == "cuda")
        self.sampler = Sampler(model.slots, vocab_size, model.context, self.device)
        # The token that each slot decodes next, and its position.
        self._ids = torch.zeros(model.slots, 1, dtype=torch.long, device=self.device)
        self._positions = torch.zeros(model.slots, 1, dtype=torch.long, device=self.device)
        self._scores = Scores.empty(model.slots, vocab_size, self.device)
        # The slots of the last step, and how they are stepped.
        self._planned: tuple[list[Slot], tuple[int, bool, bool]] | None = None
        self._graphs: dict[tuple[int, int, bool, bool], torch.cuda.CUDAGraph] = {}
        self._prefills: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        self._pool: Any = None
        self._run_model, self._run_greedy = model.decode, self._sample
        if compile:
            # Apart: one is compiled for a first length and then for all, the others as they are.
            # What sorts a large vocabulary is not: nothing is gained, and torch 2.11 cannot.
            if not isinstance(model, FusedGPT):
                self._run_model = compiled_decode(model)
                self._run_greedy = torch.compile(self._sample, dynamic=False)
            self.sampler.select_few = torch.compile(self.sampler.select, dynamic=False)

    def start(self, slots: Sequence[Slot]) -> None:
        """Prefills slots that took a new generation."""
        self._planned = None
        for slot in slots:
            if slot.restricted:
                self.sampler.banned[slot.index] = slot.restricted = False
            if slot.biased or slot.options.logit_bias:
                self.sampler.set_bias(slot.index, slot.options.logit_bias)
                slot.biased = bool(slot.options.logit_bias)
        self.sampler.set({slot.index: slot.options for slot in slots})
        self._fill(slots, fresh=True)

    def shift(self, slots: Sequence[Slot]) -> None:
        """Prefills slots again, whose sequences were cut at the end of the context."""
        self._fill(slots, fresh=False)

    def allow(self, slots: Sequence[Slot], tokens: Tensor) -> None:
        """Restricts the next tokens of slots to these: bits (n, V / 32, rounded up) of int32."""
        for slot in slots:
            slot.restricted = True
        rows = self._there(torch.tensor([slot.index for slot in slots]))
        self.sampler.ban(rows, self._there(tokens))

    @property
    def can_extend(self) -> bool:
        """Whether a slot's cache can be the beginning of another prompt."""
        return self.cache and isinstance(self.model, CachedGPT)

    @property
    def active(self) -> list[Slot]:
        """The slots that have a generation."""
        return [slot for slot in self.slots if slot.generation is not None]

    @torch.inference_mode()
    def _fill(self, filled: Sequence[Slot], fresh: bool) -> None:
        longest = max(slot.position for slot in filled)
        # Padded with its own last token. What that writes into the cache is at positions that the
        # sequence's next tokens overwrite before they are attended to.
        tokens = [slot.tokens for slot in filled]
        padded = [[*ids, *ids[-1:] * (longest + 1 - len(ids))] for ids in tokens]
        noise = [slot.noise() for slot in filled]
        slots = torch.tensor([slot.index for slot in filled])
        ids = torch.tensor(padded)  # (n, T)
        last = self._there(torch.tensor([[slot.position] for slot in filled]))
        self._prefill_slots(filled, ids, fresh)
        ids, rows, numbers = map(self._there, (ids, slots, torch.stack(noise)))
        self.sampler.fill(rows, ids, last + 1, numbers, fresh)
        self._ids.index_copy_(0, rows, ids[:, -1:])
        self._positions.index_copy_(0, rows, last)

    def _prefill_slots(self, filled: Sequence[Slot], ids: Tensor, fresh: bool) -> None:
        """Prefills slots with all tokens (n, T) but the last, which the next step takes."""
        for slot in filled:
            if new := slot.tokens[slot.reused : -1] if slot.reused else None:
                self.model.extend(self._there(torch.tensor([new])), slot.index, slot.reused)
        whole = [row for row, slot in enumerate(filled) if not slot.reused]
        longest = max((filled[row].position for row in whole), default=0)
        scored = fresh and any(slot.options.score_prompt for slot in filled)
        if not longest or not (self.cache or scored):
            return
        ids, rows = ids[whole, :longest], torch.tensor([filled[row].index for row in whole])
        if not scored:
            self._prefill(ids, rows)
            return
        cached = self._there(rows) if self.cache else None
        hidden = self.model.prefill(self._there(ids), cached)  # (n, T - 1, C)
        for states, row in zip(hidden, whole, strict=True):
            score_prompt(self.model, states, filled[row], self.vocab_size)

    def _prefill(self, ids: Tensor, rows: Tensor) -> None:
        """Prefills the slots ``rows`` (n,) with tokens (n, T), both on the host."""
        count, length = ids.shape
        sizes = [size for size in PREFILL_LENGTHS if length <= size <= self.model.context]
        if not sizes or self.device.type != "cuda":
            self.model.prefill(self._there(ids), self._there(rows))
            return
        key = (min(_power(4, count), self.model.slots), sizes[0])
        if key not in self._prefills:
            self._prefills[key] = self._capture_prefill(*key, int(rows[0]))
        graph, all_ids, all_rows = self._prefills[key]
        # Filled up with the last sequence once more, and its own slot.
        more = torch.arange(key[0]).clamp(max=count - 1)
        all_ids.copy_(self._there(F.pad(ids[more], (0, key[1] - length))))
        all_rows.copy_(self._there(rows[more]))
        graph.replay()

    @torch.inference_mode()
    def step(self) -> Step:
        """One token for each slot; those of free slots mean nothing."""
        active = self.active
        if self._planned is None or self._planned[0] != active:
            self._planned = active, self._plan(active)
        mode, adjusted, scored = self._planned[1]
        longest = 1 + max([slot.position for slot in active], default=0)
        if not self.cache:
            self._recompute(mode, adjusted, scored)
        elif self.device.type == "cuda":
            self._replay(min(_bucket(longest), self.model.context), mode, adjusted, scored)
        else:
            self._decode(longest, mode, adjusted, scored)
        for slot in active:
            slot.position += 1
        return Step(self._ids, self._scores if scored else None)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Captures what a GPU will replay, so that no request waits for it; nothing on a CPU.

        Steps with penalties, biases, JSON or scores, which few ask for, are captured when the first
        request does.

        Raises:
            RuntimeError: a slot is in use.
        """
        if self.active:
            raise RuntimeError("the engine warms up before its first request")
        if self.device.type != "cuda" or not self.cache:
            return
        lengths = {min(_bucket(n), self.model.context) for n in range(1, self.model.context + 1)}
        for length in sorted(lengths):
            for mode in {GREEDY, ALL, TOP if self.vocab_size > TOP else ALL}:
                if (key := (length, mode, False, False)) not in self._graphs:
                    self._graphs[key] = self._capture(*key)
        counts = {min(_power(4, n + 1), len(self.slots)) for n in range(len(self.slots))}
        for count in sorted(counts):
            for length in PREFILL_LENGTHS:
                if length <= self.model.context and (count, length) not in self._prefills:
                    self._prefills[count, length] = self._capture_prefill(count, length, 0)

    def _plan(self, active: Sequence[Slot]) -> tuple[int, bool, bool]:
        """How to sample, whether logits are adjusted, and whether tokens are scored."""
        options = [slot.options for slot in active]
        scored = any(one.logprobs is not None for one in options)
        return self._mode(options), any(one.adjusted for one in options), scored

    def _mode(self, options: Sequence[SamplingOptions]) -> int:
        """The least that a step must do for all: ``GREEDY``, or how many tokens to sort."""
        if all(one.temperature == 0 for one in options):
            return GREEDY
        few = all(0 < one.top_k <= TOP for one in options if one.temperature > 0)
        return TOP if few and self.vocab_size > TOP else ALL

    def _decode(self, length: int, mode: int, adjusted: bool, scored: bool) -> None:
        """One step over the static tensors: takes ``_ids`` at ``_positions``, replaces both."""
        hidden = self._run_model(self._ids, self._positions, length)[:, -1]
        if isinstance(self.model, FusedGPT) and mode == GREEDY and not (adjusted or scored):
            self.model.next_tokens(hidden, self._ids, self._positions, self.vocab_size)
            return
        (self._run_greedy if mode == GREEDY else self._sample)(hidden, mode, adjusted, scored)

    def _sample(self, hidden: Tensor, mode: int, adjusted: bool, scored: bool) -> None:
        raw = self.model.logits(hidden)  # (B, the model's V)
        logits = raw[:, : self.vocab_size]  # (B, V)
        if adjusted:
            logits = self.sampler.adjusted(logits)
        if mode == GREEDY:
            chosen = self.sampler.greedy(logits)
        else:
            chosen = self.sampler.sample(logits, self._positions[:, 0], mode)
        if adjusted:
            self.sampler.count(chosen, self._positions[:, 0])
        if scored:
            found = Scores.of(raw, chosen, self.vocab_size)
            for tensor, new in zip(self._scores, found, strict=True):
                tensor.copy_(new)
        self._ids.copy_(chosen[:, None])
        # A free slot stays at its last position.
        self._positions.add_(1).clamp_(max=self.model.context - 1)

    def _recompute(self, mode: int, adjusted: bool, scored: bool) -> None:
        (slot,) = self.slots
        if len(slot.tokens) <= slot.position:
            slot.tokens.append(int(self._ids[0, 0]))
        hidden = self.model.prefill(torch.tensor([slot.tokens], device=self.device))
        self._sample(hidden[:, -1], mode, adjusted, scored)

    def _replay(self, length: int, mode: int, adjusted: bool, scored: bool) -> None:
        key = (length, mode, adjusted, scored)
        if key not in self._graphs:
            self._graphs[key] = self._capture(*key)
        self._graphs[key].replay()

    def _capture(
        self, length: int, mode: int, adjusted: bool, scored: bool
    ) -> torch.cuda.CUDAGraph:
        state = (self._ids, self._positions, self.sampler.counts, self.sampler.history)
        before = [tensor.clone() for tensor in state]
        graph = self._graph_of(lambda: self._decode(length, mode, adjusted, scored))
        # The tokens of the capture are undone; the cache is written again.
        for tensor, old in zip(state, before, strict=True):
            tensor.copy_(old)
        return graph

    def _capture_prefill(
        self, count: int, length: int, slot: int
    ) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        """A prefill of ``count`` prompts of ``length`` tokens; the capture writes into ``slot``."""
        ids = torch.zeros(count, length, dtype=torch.long, device=self.device)
        rows = torch.full((count,), slot, device=self.device)
        return self._graph_of(lambda: self.model.prefill(ids, rows)), ids, rows

    def _graph_of(self, work: Callable[[], object]) -> torch.cuda.CUDAGraph:
        """Graphs share one pool of memory, as they are replayed one after another."""
        graph = captured(work, self.device, self._pool)
        self._pool = self._pool or graph.pool()
        return graph


def _bucket(length: int) -> int:
    """The next power of two, at least ``SHORTEST``."""
    return max(SHORTEST, _power(2, length))


def _power(base: int, number: int) -> int:
    """The next power of ``base`` that is not below ``number``."""
    power = 1
    while power < number:
        power *= base
    return power
