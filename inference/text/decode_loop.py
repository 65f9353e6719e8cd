"""The loop around the engine: generations join the batch, are stepped together, and leave it."""

import time
from collections import deque
from collections.abc import Iterator

from inference.text.engine import DecodeEngine
from inference.text.grammar import Grammar, GrammarError, allowed_tokens
from inference.text.latency import TokenGaps
from inference.text.options import SamplingOptions
from inference.text.prefix import choose_slot
from inference.text.scores import TokenScore
from inference.text.slot import Slot
from inference.text.step import Step
from inference.text.text_stream import TextStream
from inference.text.tokenizer import Tokenizer


class Generation:
    """One request while it is generated.

    ``text`` and ``tokens`` are what was generated, ``prompt_tokens`` how many the prompt has, and
    ``reason``, the finish reason, is None until it is ``stop`` (a stop string, which ``stop`` then
    is, the end of text or of what the grammar allows), ``length``, ``cancelled`` or ``error``,
    which ``error`` holds. ``began_ns``, ``first_ns`` and ``last_ns`` are the times of the prefill
    and of the first and last token, by ``time.perf_counter_ns``; 0 where they are to come. ``gaps``
    counts the times between tokens, ``reused_tokens`` what a cache had of the prompt.

    ``scores`` has those tokens whose text is certain, where the options ask for ``logprobs``. A
    token of a stop string is not among them; one that ends the text is. ``prompt_scores`` has the
    prompt's tokens but the first.
    """

    def __init__(
        self,
        ids: list[int],
        options: SamplingOptions,
        tokenizer: Tokenizer,
        grammar: Grammar | None = None,
    ) -> None:
        self.options = options
        self.prompt_tokens = len(ids)
        self.tokens: list[int] = []
        self.reason: str | None = None
        self.ids = ids  # prompt and tokens
        self.steps = 0  # steps that were begun for it
        self.began_ns = self.first_ns = self.last_ns = 0
        self.error: GrammarError | None = None
        self.gaps = TokenGaps()
        self.reused_tokens = 0
        self.scores: list[TokenScore] = []
        self.prompt_scores: list[TokenScore] = []
        self._held_scores: deque[TokenScore] = deque()
        self.grammar = grammar
        self._end = tokenizer.end
        self._stream = TextStream(tokenizer, options.stop)

    @property
    def text(self) -> str:
        return self._stream.text

    @property
    def stop(self) -> str | None:
        return self._stream.stop

    @property
    def pieces(self) -> int:
        """How many pieces :attr:`text` was made of so far."""
        return self._stream.pieces

    def text_between(self, begin: int, end: int) -> str:
        """The text of pieces ``begin`` to ``end``; may be called from any thread."""
        return self._stream.between(begin, end)

    def push(self, token: int, score: TokenScore | None = None, now: int | None = None) -> str:
        """Takes the next token; returns the text that became certain.

        Args:
            token: its number.
            score: its log-probabilities, where they are asked for.
            now: when it came, by ``time.perf_counter_ns``; None reads the clock.
        """
        if now is None:
            now = time.perf_counter_ns()
        if self.first_ns:
            self.gaps.add((now - self.last_ns) / 1e9)
        else:
            self.first_ns = now
        self.last_ns = now
        if score is None:
            return self._push(token)
        self._held_scores.append(score._replace(offset=self._stream.came))
        piece = self._push(token)
        self._release_scores()
        return piece

    def _push(self, token: int) -> str:
        if token == self._end:
            self.reason = "stop"
            return self._stream.flush()
        self.tokens.append(token)
        self.ids.append(token)
        piece = self._stream.push(token)
        if self.grammar is not None:
            try:
                self.grammar.push(token)
            except GrammarError as error:
                return piece + self.fail(error)
        if self._stream.stopped:
            self.reason = "stop"
        elif self.grammar is not None and self.grammar.complete:
            self.reason = "stop"
            piece += self._stream.flush()
        elif len(self.tokens) == self.options.max_new_tokens:
            piece += self.cut()
        return piece

    def fail(self, error: GrammarError) -> str:
        """Ends the generation with an error; returns what was held back."""
        self.reason, self.error = "error", error
        return self._stream.flush()

    def cut(self) -> str:
        """Ends the generation here; returns what was held back."""
        self.reason = "length"
        piece = self._stream.flush()
        self._release_scores()
        return piece

    def _release_scores(self) -> None:
        """Scores come with the text of their tokens; those of a stop string do not come."""
        held, stream = self._held_scores, self._stream
        while held and (held[0].offset < stream.given or (self.reason and not stream.stopped)):
            self.scores.append(held.popleft())


class DecodeLoop:
    """Runs many generations at once; a waiting one takes the slot of one that ended.

    On a GPU the tokens are read one step behind the device, which so never waits for the host.

    Args:
        engine: does the steps; nothing else may use it meanwhile.
        reuse: a prompt that begins as what a free slot's cache holds takes that slot, and only the
            rest of it is prefilled; :meth:`clear` forgets what the slots hold.
        prefill: most tokens of prompts that are prefilled between two steps. Where many requests
            join at once, those that are running already continue in between.
    """

    def __init__(self, engine: DecodeEngine, prefill: int = 8192, reuse: bool = False) -> None:
        self.engine = engine
        self.prefill = prefill
        self.reuse = reuse
        self._freed = 0
        self.waiting: deque[Generation] = deque()
        self._underway: deque[tuple[list[tuple[Slot, Generation]], Step]] = deque()

    @property
    def active(self) -> list[tuple[Slot, Generation]]:
        """The generations that have a slot."""
        return [(slot, slot.generation) for slot in self.engine.slots if slot.generation]

    @property
    def busy(self) -> bool:
        return bool(self.waiting) or any(slot.generation for slot in self.engine.slots)

    def add(self, generation: Generation) -> None:
        """Puts a generation at the end of the queue."""
        self.waiting.append(generation)

    def drop(self, generation: Generation) -> None:
        """Ends a generation, waiting or running, as ``cancelled``; its slot is free at once."""
        if generation.reason is None:
            generation.reason = "cancelled"
            if generation in self.waiting:
                self.waiting.remove(generation)
            for slot, running in self.active:
                if running is generation:
                    self._free(slot)

    def clear(self) -> None:
        """Ends all generations."""
        for generation in [*self.waiting, *(running for _, running in self.active)]:
            self.drop(generation)
        for slot in self.engine.slots:
            slot.held = []
        self._underway.clear()

    def _free(self, slot: Slot) -> None:
        self._freed += 1
        slot.free(self._freed)

    def step(self) -> Iterator[tuple[Generation, str]]:
        """One step for all that run: pairs of a generation and its next text, perhaps empty."""
        yield from self._make_room()
        yield from self._join()
        active, lag = self.active, self.engine.lag
        # What a grammar allows depends on the last token, so with one no step stays underway.
        if any(running.grammar for _, running in active):
            yield from self._restrict()
            active, lag = self.active, 0
        if any(running.steps < running.options.max_new_tokens for _, running in active):
            for _, running in active:
                running.steps += 1
            self._underway.append((active, self.engine.step()))
        else:
            lag = 0
        yield from self._take(lag)

    def _restrict(self) -> Iterator[tuple[Generation, str]]:
        """Bans the tokens that grammars forbid next; ends what has none that it allows."""
        restricted = [(slot, one, one.grammar) for slot, one in self.active if one.grammar]
        allowed = allowed_tokens([grammar for _, _, grammar in restricted])
        self.engine.allow([slot for slot, _, _ in restricted], allowed)
        for slot, running, grammar in restricted:
            try:
                grammar.check()
            except GrammarError as error:
                self._free(slot)
                yield running, running.fail(error)

    def _join(self) -> Iterator[tuple[Generation, str]]:
        """Begins what waits, as far as slots are free; what only scores its prompt ends here."""
        if not self.waiting:
            return
        joining: list[Slot] = []
        longest = 0
        free = [slot for slot in self.engine.slots if slot.generation is None]
        while self.waiting and free:
            longest = max(longest, len(self.waiting[0].ids))
            if joining and longest * (len(joining) + 1) > self.prefill:
                break
            joining.append(self._take_slot(free, self.waiting.popleft()))
            free.remove(joining[-1])
        if not joining:
            return
        now = time.perf_counter_ns()
        for slot in joining:
            assert slot.generation is not None
            slot.generation.began_ns = now
        self.engine.start(joining)
        for slot in joining:
            if slot.options.max_new_tokens == 0 and (scored := slot.generation):
                piece = scored.cut()
                self._free(slot)
                yield scored, piece

    def _take_slot(self, free: list[Slot], generation: Generation) -> Slot:
        slot, reused = free[0], 0
        if self.reuse and not generation.options.score_prompt:
            slot, reused = choose_slot(free, generation.ids)
        slot.take(generation, reused)
        return slot

    def _make_room(self) -> Iterator[tuple[Generation, str]]:
        """Where a sequence fills its window, continues with its last half, or ends it."""
        if not any(slot.position >= slot.window for slot in self.engine.slots if slot.generation):
            return
        yield from self._take(0)
        full: list[Slot] = []
        for slot, running in self.active:
            if slot.room:
                continue
            options = running.options
            if not options.shift:
                yield running, running.cut()
                self._free(slot)
                continue
            keep = min(options.keep, slot.window // 2)
            slot.fill(options.fit(running.ids, keep + max(1, (slot.window - keep) // 2)))
            full.append(slot)
        if full:
            self.engine.shift(full)

    def _take(self, lag: int) -> Iterator[tuple[Generation, str]]:
        """Takes the tokens of all steps underway but the last ``lag``."""
        while len(self._underway) > lag:
            stepped, step = self._underway.popleft()
            tokens, now = step.read(), time.perf_counter_ns()  # all tokens of a step come at once
            for slot, generation in stepped:
                if generation.reason is not None:
                    continue
                wanted = generation.options.logprobs
                score = None if wanted is None else step.score(slot.index, wanted)
                piece = generation.push(tokens[slot.index], score, now)
                if generation.reason is not None:
                    self._free(slot)
                yield generation, piece
