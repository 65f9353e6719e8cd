"""A completion on its way to whoever asked for it: its text and the scores of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.loaded import Loaded
from serving.logprobs import TokenLogprob, spelled, spelled_prompt

if TYPE_CHECKING:
    from inference.text.request import Request

# More log-probabilities than that are made into JSON in a thread, so that others need not wait.
MANY = 2_000


class Piece(str):
    """Text of a completion as it came; ``logprobs`` are of its tokens, where they were asked for.

    ``choice`` is the number of its request among those that were made together.
    """

    choice: int
    logprobs: list[TokenLogprob]

    def __new__(cls, text: str, choice: int = 0, logprobs: Sequence[TokenLogprob] = ()) -> Piece:
        piece = super().__new__(cls, text)
        piece.choice, piece.logprobs = choice, list(logprobs)
        return piece

    @property
    def heavy(self) -> bool:
        """Whether a thread should make JSON of it."""
        return sum(1 + len(one.top) for one in self.logprobs) > MANY


@dataclass(frozen=True)
class Finished:
    """The end of a completion.

    Times are in nanoseconds, ``context`` holds the tokens of all of it, ``stop`` is the stop string
    that ended it, if one did. ``logprobs`` is that of the token that ended it, where one did and
    they were asked for.
    """

    reason: str
    load_ns: int
    prompt_tokens: int
    prompt_ns: int
    tokens: int
    eval_ns: int
    context: list[int]
    stop: str | None = None
    choice: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


class Progress:
    """One of the completions that are made together, and what came of it since the last look.

    Args:
        loaded: the model.
        submitted: its request.
        choice: its number.
        echo: whether the prompt comes first, once it was prefilled.
    """

    def __init__(self, loaded: Loaded, submitted: Request, choice: int, echo: bool) -> None:
        assert loaded.batcher is not None
        self.model = loaded.artifact.name
        self.submitted = submitted
        self.choice = choice
        self.done = False
        self._last: tuple[TokenLogprob, ...] = ()
        self._tokenizer = loaded.batcher.generator.tokenizer
        self._echo = echo
        self._shift = 0
        self._seen = 0  # scores that were looked at
        self._new: list[Piece] = []

    @property
    def heavy(self) -> bool:
        """Whether there is so much to look at that a thread should do it."""
        generation = self.submitted.generation
        count = len(generation.scores) - self._seen
        count += len(generation.prompt_scores) if self._echo else 0
        return count * (1 + (generation.options.logprobs or 0)) > MANY

    def look(self) -> None:
        """Takes what has come."""
        self.done = self.submitted.done  # looked at first, so that no piece comes after the end
        text, scores = self.submitted.take_scored()
        generation = self.submitted.generation
        if self._echo and (generation.first_ns or generation.reason == "length"):
            self._echo = False  # the prompt was prefilled
            self._new.append(self._prompt())
        self._seen += len(scores)
        logprobs = spelled(self._tokenizer, scores, self._shift) if scores else []
        if scores and scores[-1].token == self._tokenizer.end:
            self._last = (logprobs.pop(),)
        if text or logprobs:
            self._new.append(Piece(text, self.choice, logprobs))

    def pieces(self) -> list[Piece]:
        """The pieces since the last call."""
        pieces, self._new = self._new, []
        return pieces

    def finished(self, load_ns: int) -> Finished:
        """The end, after which nothing comes."""
        generation = self.submitted.generation
        return Finished(
            generation.reason or "",
            load_ns,
            generation.prompt_tokens,
            self.submitted.prompt_ns,
            len(generation.tokens),
            self.submitted.eval_ns,
            generation.ids,
            generation.stop,
            self.choice,
            self._last,
        )

    def _prompt(self) -> Piece:
        generation = self.submitted.generation
        ids = generation.ids[: generation.prompt_tokens]
        text = self._tokenizer.decode(ids)
        self._shift = len(text)
        if generation.options.logprobs is None:
            return Piece(text, self.choice)
        scored = spelled_prompt(self._tokenizer, ids, generation.prompt_scores)
        return Piece(text, self.choice, scored)
