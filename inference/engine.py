"""Decodes several texts at once, one token of each a step; on a GPU as a CUDA graph."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.cached_gpt import CachedGPT
from inference.sampling import Choice, SamplingOptions

# A graph reads a fixed number of positions; a short text should not pay for the whole context.
SHORTEST = 128
# Beginnings of texts up to these lengths are read by graphs, too: on the host, a short one costs
# as much to begin as a long one.
BEGINNINGS = (16, 64)
# Ways to choose: the likeliest token; by sorting all tokens; by sorting this many of the likeliest,
# which is enough where every text asks for a smaller top-k, and much faster.
GREEDY, ALL, LIKELIEST = -1, 0, 64


class DecodeEngine:
    """Steps a :class:`CachedGPT` and chooses the tokens, all on the device.

    A slot is given a text with :meth:`start`, at any time between two steps, and every
    :meth:`step` makes one token for each slot. On a GPU a step is the replay of a CUDA graph, and
    :meth:`read` of one step can wait while the next one runs.

    Args:
        model: the net with its cache.
        vocab_size: tokens that have a text. A model may have more, to fill its vocabulary up to a
            round number; those are never chosen.
        cache: with false the whole text is computed anew for every token, as a loop without a
            cache does; for comparison, with one slot.
        compile: compile the step with torch.compile before it is captured; takes about a minute.

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
        self.slots = model.slots
        self.cache = cache
        self.device = model.device
        self.lag = int(self.device.type == "cuda")
        self.choice = Choice(self.slots, vocab_size, model.context, self.device)
        self._ids = torch.zeros(self.slots, 1, dtype=torch.long, device=self.device)
        self._positions = torch.zeros(self.slots, 1, dtype=torch.long, device=self.device)
        self._next = [0] * self.slots  # position of the token that each slot reads next
        self._options = [SamplingOptions()] * self.slots
        self._chances = [torch.Generator() for _ in range(self.slots)]
        self._texts: list[list[int]] = [[] for _ in range(self.slots)]
        self._active: set[int] = set()
        self._graphs: dict[tuple[int, int, bool], torch.cuda.CUDAGraph] = {}
        self._readers: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        self._pool: Any = None
        self._run_hidden, self._run_greedy = model.hidden, self._choose
        if compile:
            # Apart: one is compiled for a first length and then for all, the others as they are.
            # What sorts a large vocabulary is not: nothing is gained, and torch 2.11 cannot.
            self._run_hidden = torch.compile(model.hidden)
            self._run_greedy = torch.compile(self._choose, dynamic=False)
            self.choice.place_few = torch.compile(self.choice.place, dynamic=False)

    def start(self, texts: Mapping[int, tuple[Sequence[int], SamplingOptions]]) -> None:
        """Gives slots new texts: tokens, 1 to ``context`` of them, and what is asked, by slot."""
        for slot, (_, options) in texts.items():
            if self._options[slot].json:
                self.choice.banned[slot] = False
            self._options[slot] = options
            self._active.add(slot)
            if options.seed is None:
                self._chances[slot].seed()
            else:
                self._chances[slot].manual_seed(options.seed)
        self.choice.set({slot: options for slot, (_, options) in texts.items()})
        self._fill({slot: ids for slot, (ids, _) in texts.items()}, fresh=True)

    def shift(self, texts: Mapping[int, Sequence[int]]) -> None:
        """Goes on with the last tokens of texts that reached the end of the context, by slot."""
        self._fill(texts, fresh=False)

    def allow(self, slot: int, tokens: Tensor) -> None:
        """Lets the next token be one of these (tokenizer's V,), for a text that asked for JSON."""
        self.choice.banned[slot] = ~tokens.to(self.device)

    def stop(self, slot: int) -> None:
        """Lets go of a text; the slot is free."""
        self._active.discard(slot)

    def room(self, slot: int) -> int:
        """Tokens that ``slot`` can still make before its window of the context is full."""
        return self.window(self._options[slot]) - self._next[slot]

    def window(self, options: SamplingOptions) -> int:
        """Positions that a text with these options uses."""
        return min(options.window or self.model.context, self.model.context)

    @torch.inference_mode()
    def _fill(self, texts: Mapping[int, Sequence[int]], fresh: bool) -> None:
        slots = sorted(texts)
        for slot in slots:
            self._texts[slot] = list(texts[slot])
            self._next[slot] = len(texts[slot]) - 1
        longest = max(self._next[slot] for slot in slots)
        # Padded with its own last token. What that writes into the cache is in places that the
        # text's next tokens overwrite before they are read.
        texts_now = [self._texts[slot] for slot in slots]
        padded = [[*ids, *ids[-1:] * (longest + 1 - len(ids))] for ids in texts_now]
        noise = [torch.rand(self.model.context, generator=self._chances[slot]) for slot in slots]
        ids = torch.tensor(padded)  # (n, T)
        last = torch.tensor([[self._next[slot]] for slot in slots]).to(self.device)
        if self.cache and longest:  # the next step reads the last token of each
            self._read(ids[:, :-1], torch.tensor(slots))
        ids, rows = ids.to(self.device), torch.tensor(slots).to(self.device)
        self.choice.fill(rows, ids, last + 1, torch.stack(noise).to(self.device), fresh)
        self._ids.index_copy_(0, rows, ids[:, -1:])
        self._positions.index_copy_(0, rows, last)

    def _read(self, ids: Tensor, rows: Tensor) -> None:
        """Reads the beginnings (n, T) of texts, both on the host, into the slots ``rows`` (n,)."""
        count, length = ids.shape
        sizes = [size for size in BEGINNINGS if length <= size <= self.model.context]
        if not sizes or self.device.type != "cuda":
            self.model.read(ids.to(self.device), rows.to(self.device))
            return
        key = (min(_power(4, count), self.slots), sizes[0])
        if key not in self._readers:
            self._readers[key] = self._capture_reader(*key, int(rows[0]))
        graph, all_ids, all_rows = self._readers[key]
        # Filled up with the last text once more, and its own slot.
        more = torch.arange(key[0]).clamp(max=count - 1)
        all_ids.copy_(F.pad(ids[more], (0, key[1] - length)))
        all_rows.copy_(rows[more])
        graph.replay()

    @torch.inference_mode()
    def step(self) -> "Step":
        """Makes one token for each slot; those of free slots mean nothing."""
        mode, adjusted = self._mode(), self._adjusted()
        longest = max((self._next[slot] + 1 for slot in self._active), default=1)
        if not self.cache:
            self._recompute(mode, adjusted)
        elif self.device.type == "cuda":
            self._replay(min(_bucket(longest), self.model.context), mode, adjusted)
        else:
            self._decode(longest, mode, adjusted)
        for slot in self._active:
            self._next[slot] += 1
        return Step(self._ids)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Captures what a GPU will replay, so that no text waits for it; nothing on a CPU.

        Steps with penalties or JSON, which few ask for, are captured when the first text does.

        Raises:
            RuntimeError: texts are being generated.
        """
        if self._active:
            raise RuntimeError("the engine warms up before its first text")
        if self.device.type != "cuda" or not self.cache:
            return
        lengths = {min(_bucket(n), self.model.context) for n in range(1, self.model.context + 1)}
        for length in sorted(lengths):
            for mode in {GREEDY, ALL, LIKELIEST if self.vocab_size > LIKELIEST else ALL}:
                if (length, mode, False) not in self._graphs:
                    self._graphs[length, mode, False] = self._capture(length, mode, False)
        counts = {min(_power(4, n), self.slots) for n in range(1, self.slots + 1)}
        for count in sorted(counts):
            for length in BEGINNINGS:
                if length <= self.model.context and (count, length) not in self._readers:
                    self._readers[count, length] = self._capture_reader(count, length, 0)

    def _mode(self) -> int:
        """The least that a step must do for all texts: ``GREEDY``, or how many tokens to sort."""
        asked = [self._options[slot] for slot in self._active]
        if all(text.temperature == 0 for text in asked):
            return GREEDY
        few = all(0 < text.top_k <= LIKELIEST for text in asked if text.temperature > 0)
        return LIKELIEST if few and self.vocab_size > LIKELIEST else ALL

    def _adjusted(self) -> bool:
        """Whether a text asks for penalties or JSON, which depend on what it is so far."""
        return any(self._options[slot].adjusted for slot in self._active)

    def _decode(self, length: int, mode: int, adjusted: bool) -> None:
        """One step over the static tensors: reads ``_ids`` at ``_positions``, replaces both."""
        hidden = self._run_hidden(self._ids, self._positions, length)
        choose = self._run_greedy if mode == GREEDY else self._choose
        choose(hidden[:, -1], mode, adjusted)

    def _choose(self, hidden: Tensor, mode: int, adjusted: bool) -> None:
        logits = self.model.logits(hidden)[:, : self.vocab_size]  # (B, V)
        if adjusted:
            logits = self.choice.adjusted(logits)
        if mode == GREEDY:
            chosen = self.choice.greedy(logits)
        else:
            chosen = self.choice.sample(logits, self._positions[:, 0], mode)
        if adjusted:
            self.choice.note(chosen, self._positions[:, 0])
        self._ids.copy_(chosen[:, None])
        # A free slot stays at its last place.
        self._positions.add_(1).clamp_(max=self.model.context - 1)

    def _recompute(self, mode: int, adjusted: bool) -> None:
        if len(self._texts[0]) <= self._next[0]:
            self._texts[0].append(int(self._ids[0, 0]))
        ids = torch.tensor([self._texts[0]], device=self.device)
        hidden = self.model.read(ids)
        self._choose(hidden[:, -1], mode, adjusted)

    def _replay(self, length: int, mode: int, adjusted: bool) -> None:
        key = (length, mode, adjusted)
        if key not in self._graphs:
            self._graphs[key] = self._capture(*key)
        self._graphs[key].replay()

    def _capture(self, length: int, mode: int, adjusted: bool) -> torch.cuda.CUDAGraph:
        state = (self._ids, self._positions, self.choice.counts, self.choice.history)
        before = [tensor.clone() for tensor in state]
        graph = self._captured(lambda: self._decode(length, mode, adjusted))
        # The tokens of the capture are undone; the cache is written anew.
        for tensor, old in zip(state, before, strict=True):
            tensor.copy_(old)
        return graph

    def _capture_reader(
        self, count: int, length: int, slot: int
    ) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        """Reads ``count`` texts of ``length`` tokens; meanwhile writes into ``slot``."""
        ids = torch.zeros(count, length, dtype=torch.long, device=self.device)
        rows = torch.full((count,), slot, device=self.device)
        return self._captured(lambda: self.model.read(ids, rows)), ids, rows

    def _captured(self, work: Callable[[], object]) -> torch.cuda.CUDAGraph:
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(3):  # allocates what libraries need
                work()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            work()
        self._pool = self._pool or graph.pool()
        return graph


class Step:
    """The tokens of one step, on their way to the host."""

    def __init__(self, ids: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if ids.device.type != "cuda":
            self._tokens = ids[:, 0].clone()
            return
        self._tokens = torch.empty(len(ids), dtype=ids.dtype, pin_memory=True)
        self._tokens.copy_(ids[:, 0], non_blocking=True)
        self._event = torch.cuda.Event()
        self._event.record()

    def read(self) -> list[int]:
        """The tokens by slot; waits for the device."""
        if self._event is not None:
            self._event.synchronize()
        return self._tokens.tolist()


def _bucket(length: int) -> int:
    """The next power of two, at least ``SHORTEST``."""
    return max(SHORTEST, _power(2, length))


def _power(base: int, number: int) -> int:
    """The next power of ``base`` that is not below ``number``."""
    power = 1
    while power < number:
        power *= base
    return power
