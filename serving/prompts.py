"""From the fields of a request to the tokens that the model goes on with."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from serving.artifact import Artifact
from serving.errors import ApiError
from serving.loaded import Loaded
from serving.template import Template

Tokens = Callable[[Loaded], list[int]]


def filled_in(source: str | None, artifact: Artifact, system: str, prompt: str) -> str:
    """A single prompt in the request's template, or else the model's.

    Raises:
        ApiError: 400 for a template that cannot be read.
    """
    try:
        template = Template(source) if source else artifact.template
    except ValueError as error:
        raise ApiError(400, str(error)) from error
    messages = [("system", system)] if system else []
    return template.conversation([*messages, ("user", prompt)])


def as_given(text: str, before: Sequence[int] | None = None) -> Tokens:
    """A text as it is, behind the tokens of an earlier answer (``context``)."""

    def tokens(loaded: Loaded) -> list[int]:
        assert loaded.batcher is not None
        tokenizer = loaded.batcher.generator.tokenizer
        if before and not all(0 <= token < tokenizer.vocab_size for token in before):
            raise ValueError("context holds tokens that this model does not have")
        return [*(before or ()), *loaded.tokens(text)]

    return tokens


def conversation(
    artifact: Artifact, turns: Sequence[tuple[str, str]], num_ctx: int, truncate: bool
) -> Tokens:
    """A conversation in the model's template.

    Where it is longer than the context, the oldest messages go; those of the system and the last
    one stay.
    """

    def tokens(loaded: Loaded) -> list[int]:
        window = min(num_ctx, artifact.context) if num_ctx > 0 else artifact.context

        def ids(start: int) -> list[int]:
            kept = [turn for turn in turns[:start] if turn[0] == "system"]
            return loaded.tokens(artifact.template.conversation([*kept, *turns[start:]]))

        def fits(start: int) -> bool:
            return len(ids(start)) <= window

        first = ids(0)
        if len(first) <= window or not truncate:
            return first
        # Halving: a hostile history has as many turns as bytes.
        start = bisect_left(range(1, len(turns)), True, key=fits) + 1
        return ids(min(start, len(turns) - 1))

    return tokens
