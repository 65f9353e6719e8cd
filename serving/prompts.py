"""From the fields of a request to the prompt's tokens."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from serving.artifact import Artifact
from serving.errors import ApiError
from serving.loaded import Loaded
from serving.settings import Settings
from serving.template import Template

Tokens = Callable[[Loaded], list[int]]
# OpenAI's developer is what the others call system.
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def turns(messages: Iterable[tuple[str | None, str]], limits: Settings) -> list[tuple[str, str]]:
    """Pairs of role and text as a template takes them; the case of a role does not matter.

    Raises:
        ApiError: 400 for too many messages, or a role that no model here knows: its text could only
            be left out.
    """
    given = list(messages)
    if len(given) > limits.max_messages:
        most = limits.max_messages
        raise ApiError(400, f"{len(given):,} messages are too many; {most:,} are taken")
    found = []
    for number, (name, text) in enumerate(given):
        role = _ROLES.get((name or "").lower())
        if role is None:
            what = ascii(name[:40]) if name else "missing"
            raise ApiError(
                400, f"messages.{number}: the role is {what}; it must be one of {', '.join(_ROLES)}"
            )
        found.append((role, text))
    return found


def text_of(content: Any, kinds: Collection[str], limits: Settings) -> str:
    """The text of a message: a string, or parts of text that follow each other.

    Raises:
        ApiError: 400 for too many parts, or one that is not of a type in ``kinds``.
    """
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [None]
    if len(parts) > limits.max_messages:
        most = limits.max_messages
        raise ApiError(400, f"{len(parts):,} parts of a message are too many; {most:,} are taken")
    texts = []
    for part in parts:
        kind, text = (
            (part.get("type"), part.get("text")) if isinstance(part, dict) else (None, None)
        )
        if kind not in kinds or not isinstance(text, str):
            what = f"type {kind[:40]!a}" if isinstance(kind, str) else "no part of text"
            raise ApiError(400, f"invalid message content: {what}; only text is supported")
        texts.append(text)
    return "".join(texts)


def filled_in(
    source: str | None, artifact: Artifact, system: str, prompt: str, limits: Settings
) -> str:
    """A single prompt in the request's template, or else the model's.

    Raises:
        ApiError: 400 for a template that cannot be read, or a prompt that is too long.
    """
    if source and len(source) > limits.max_template:
        raise ApiError(400, f"the template is longer than {limits.max_template:,} characters")
    messages = [("system", system)] if system else []
    try:
        template = Template(source) if source else artifact.template
        return template.conversation([*messages, ("user", prompt)], limits.max_prompt)
    except ValueError as error:
        raise ApiError(400, str(error)) from error


def as_given(text: str, before: Sequence[int] | None = None) -> Tokens:
    """A text as it is, behind the tokens of an earlier answer (``context``)."""

    def tokens(loaded: Loaded) -> list[int]:
        return [*check_tokens(loaded, before or (), "context"), *loaded.tokens(text)]

    return tokens


def check_tokens(loaded: Loaded, ids: Sequence[int], field: str) -> list[int]:
    """Token numbers of a request; raises ValueError where the model does not have one of them."""
    assert loaded.batcher is not None
    size = loaded.batcher.generator.tokenizer.vocab_size
    if not all(0 <= token < size for token in ids):
        raise ValueError(f"{field} holds tokens that this model does not have")
    return list(ids)


def length_of(messages: Sequence[tuple[str, str]]) -> int:
    """Characters of a conversation; a message without any counts, too."""
    return sum(len(content) + 2 for _, content in messages)


def conversation(
    artifact: Artifact,
    messages: Sequence[tuple[str, str]],
    window: int,
    truncate: bool,
    limits: Settings,
) -> Tokens:
    """A conversation in the model's template.

    Where it is longer than the window, the oldest messages go; those of the system and the last
    one stay.

    Args:
        artifact: the model.
        messages: what :func:`turns` returns.
        window: positions of the context that are used.
        truncate: whether messages may go.
        limits: the server's.
    """

    def tokens(loaded: Loaded) -> list[int]:
        def ids(start: int) -> list[int]:
            kept = [message for message in messages[:start] if message[0] == "system"]
            rounds = [*kept, *messages[start:]]
            return loaded.tokens(artifact.template.conversation(rounds, limits.max_prompt))

        def fits(start: int) -> bool:
            return len(ids(start)) <= window

        first = ids(0)
        if len(first) <= window or not truncate:
            return first
        # Halving: a hostile history has as many messages as bytes.
        start = bisect_left(range(1, len(messages)), True, key=fits) + 1
        return ids(min(start, len(messages) - 1))

    return tokens
