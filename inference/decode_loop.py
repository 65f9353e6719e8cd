"""The loop around the engine: texts join it, are stepped together, and leave it one by one."""

import time
from collections import deque
from collections.abc import Iterator

from inference.engine import DecodeEngine, Step
from inference.json_grammar import DONE, START, JsonGrammar
from inference.sampling import SamplingOptions
from inference.tokenizer import TextStream, Tokenizer


class Generation:
    """One text in the making.

    ``text`` and ``tokens`` are what was generated, ``prompt_tokens`` how many the prompt has, and
    ``reason`` is None until it is ``stop`` (a stop string, the end of text), ``length`` or
    ``cancelled``. ``began_ns``, ``first_ns`` and ``last_ns`` say when the prompt was taken up and
    when its first and last token came, by ``time.perf_counter_ns``; 0 where that has not been.
    """

    def __init__(
        self,
        ids: list[int],
        options: SamplingOptions,
        tokenizer: Tokenizer,
        grammar: JsonGrammar | None = None,
    ) -> None:
        self.options = options
        self.prompt_tokens = len(ids)
        self.tokens: list[int] = []
        self.reason: str | None = None
        self.ids = ids  # prompt and tokens
        self.asked = 0  # tokens whose computation was begun
        self.began_ns = self.first_ns = self.last_ns = 0
        self.grammar = grammar
        self.state = START  # of the grammar
        self._end = tokenizer.end
        self._stream = TextStream(tokenizer, options.stop)

    @property
    def text(self) -> str:
        return self._stream.text

    def push(self, token: int) -> str:
        """Takes the next token; gives the text that became sure."""
        self.last_ns = time.perf_counter_ns()
        self.first_ns = self.first_ns or self.last_ns
        if token == self._end:
            self.reason = "stop"
            return self._stream.flush()
        self.tokens.append(token)
        self.ids.append(token)
        piece = self._stream.push(token)
        if self.grammar is not None:
            self.state = self.grammar.after(self.state, token)
        if self._stream.stopped:
            self.reason = "stop"
        elif self.state == DONE:
            self.reason = "stop"
            piece += self._stream.flush()
        elif len(self.tokens) == self.options.max_new_tokens:
            piece += self.cut()
        return piece

    def cut(self) -> str:
        """Ends the text here; gives what was held back."""
        self.reason = "length"
        return self._stream.flush()


class DecodeLoop:
    """Generates many texts at once; a waiting one takes the slot of one that ended.

    On a GPU the tokens are read one step behind the device, which so never waits for the host.

    Args:
        engine: does the steps; nothing else may use it meanwhile.
        prefill: most tokens of prompts that are read between two steps. Where many texts join at
            once, those that run already go on in between.
    """

    def __init__(self, engine: DecodeEngine, prefill: int = 8192) -> None:
        self.engine = engine
        self.prefill = prefill
        self.waiting: deque[Generation] = deque()
        self.active: dict[int, Generation] = {}
        self._underway: deque[tuple[dict[int, Generation], Step]] = deque()

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.active)

    def add(self, text: Generation) -> None:
        """Puts a text at the end of the line."""
        self.waiting.append(text)

    def drop(self, text: Generation) -> None:
        """Ends a text, waiting or running, with reason ``cancelled``; its slot is free at once."""
        if text.reason is None:
            text.reason = "cancelled"
            if text in self.waiting:
                self.waiting.remove(text)
            for slot in [slot for slot, running in self.active.items() if running is text]:
                self._free(slot)

    def clear(self) -> None:
        """Ends all texts."""
        for text in [*self.waiting, *self.active.values()]:
            self.drop(text)
        self._underway.clear()

    def turn(self) -> Iterator[tuple[Generation, str]]:
        """One step for all that run: pairs of a text and its next piece, which may be empty."""
        yield from self._keep_room()
        self._join()
        behind = self._bind()
        if any(text.asked < text.options.max_new_tokens for text in self.active.values()):
            for text in self.active.values():
                text.asked += 1
            self._underway.append((dict(self.active), self.engine.step()))
        else:
            behind = 0
        yield from self._read(behind)

    def _bind(self) -> int:
        """Tells the engine what texts of a grammar may go on with; how far to read behind it.

        What comes next depends on the last token, so with such a text nothing is read behind.
        """
        bound = [(slot, text) for slot, text in self.active.items() if text.grammar is not None]
        for slot, text in bound:
            assert text.grammar is not None
            self.engine.allow(slot, text.grammar.allowed(text.state))
        return 0 if bound else self.engine.lag

    def _join(self) -> None:
        joining: dict[int, Generation] = {}
        longest = 0
        for slot in range(self.engine.slots):
            if not self.waiting:
                break
            if slot in self.active:
                continue
            longest = max(longest, len(self.waiting[0].ids))
            if joining and longest * (len(joining) + 1) > self.prefill:
                break
            joining[slot] = self.waiting.popleft()
        if not joining:
            return
        now = time.perf_counter_ns()
        for text in joining.values():
            text.began_ns = now
        self.active |= joining
        self.engine.start({slot: (text.ids, text.options) for slot, text in joining.items()})

    def _keep_room(self) -> Iterator[tuple[Generation, str]]:
        """Where a text fills its window, goes on with its last half, or ends it."""
        if all(self.engine.room(slot) for slot in self.active):
            return
        yield from self._read(0)
        full: dict[int, list[int]] = {}
        for slot, text in list(self.active.items()):
            if self.engine.room(slot):
                continue
            if not text.options.shift:
                yield text, text.cut()
                self._free(slot)
                continue
            window = self.engine.window(text.options)
            keep = min(text.options.keep, window // 2)
            full[slot] = text.options.fit(text.ids, keep + max(1, (window - keep) // 2))
        if full:
            self.engine.shift(full)

    def _read(self, behind: int) -> Iterator[tuple[Generation, str]]:
        """Takes the tokens of all steps underway but the last ``behind``."""
        while len(self._underway) > behind:
            slots, step = self._underway.popleft()
            tokens = step.read()
            for slot, text in slots.items():
                if text.reason is not None:
                    continue
                piece = text.push(tokens[slot])
                if text.reason is not None:
                    self._free(slot)
                yield text, piece

    def _free(self, slot: int) -> None:
        del self.active[slot]
        self.engine.stop(slot)
