"""Log-probabilities of tokens in the forms of Ollama and OpenAI."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from inference.text.scores import TokenScore
    from inference.text.tokenizer import Tokenizer


class Spelled(NamedTuple):
    """A token with its bytes, of which a special one has none, its name and log-probability.

    ``logprob`` is None for the first token of a prompt, which nothing comes before.
    """

    content: bytes
    name: str
    logprob: float | None


class TokenLogprob(NamedTuple):
    """A token of an answer, the most likely ones at its position, and where it is in the text."""

    token: Spelled
    top: tuple[Spelled, ...]
    offset: int


def spelled(
    tokenizer: Tokenizer, scores: Iterable[TokenScore], shift: int = 0
) -> list[TokenLogprob]:
    """The tokens of scores in letters, ``shift`` characters after where they are."""
    return [
        TokenLogprob(
            _spell(tokenizer, score.token, score.logprob),
            tuple(_spell(tokenizer, *pair) for pair in score.top),
            shift + score.offset,
        )
        for score in scores
    ]


def spelled_prompt(
    tokenizer: Tokenizer, ids: Sequence[int], scores: Sequence[TokenScore]
) -> list[TokenLogprob]:
    """The same for a prompt: its first token, and the scored ones after it."""
    from inference.text.text_stream import TextStream

    stream, offsets = TextStream(tokenizer), []
    for token in ids:
        offsets.append(stream.came)
        stream.push(token)
    first = TokenLogprob(_spell(tokenizer, ids[0], None), (), 0)
    placed = (
        score._replace(offset=offset) for score, offset in zip(scores, offsets[1:], strict=True)
    )
    return [first, *spelled(tokenizer, placed)]


def _spell(tokenizer: Tokenizer, token: int, logprob: float | None) -> Spelled:
    return Spelled(tokenizer.pieces[token], tokenizer.name(token), logprob)


def in_ollamas_form(tokens: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """What Ollama has under ``logprobs``."""

    def entry(token: Spelled) -> dict[str, Any]:
        fields: dict[str, Any] = {"token": _text(token, ""), "logprob": token.logprob}
        return fields | ({"bytes": list(token.content)} if token.content else {})

    return [
        entry(one.token) | ({"top_logprobs": [entry(each) for each in one.top]} if one.top else {})
        for one in tokens
    ]


def in_chat_form(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    """What OpenAI's chat completions have under ``logprobs``."""

    def entry(token: Spelled) -> dict[str, Any]:
        return {
            "token": _text(token, ""),
            "logprob": token.logprob,
            "bytes": list(token.content),
        }

    content = [
        entry(one.token) | {"top_logprobs": [entry(each) for each in one.top]} for one in tokens
    ]
    return {"content": content, "refusal": None}


def in_completion_form(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """What OpenAI's completions have under ``logprobs``; the token itself is among the likely."""
    top: list[dict[str, float] | None] = []
    for one in tokens:
        if one.token.logprob is None:
            top.append(None)
            continue
        likely = {_text(each, "bytes:"): each.logprob for each in (*one.top, one.token)}
        top.append({name: value for name, value in likely.items() if value is not None})
    return {
        "tokens": [_text(one.token, "bytes:") for one in tokens],
        "token_logprobs": [one.token.logprob for one in tokens],
        "top_logprobs": top,
        "text_offset": [one.offset for one in tokens],
    }


def _text(token: Spelled, prefix: str) -> str:
    r"""A token's text; what is only a part of a character as OpenAI writes it, ``\xf0\x9f``."""
    if not token.content:
        return token.name
    try:
        return token.content.decode()
    except UnicodeDecodeError:
        return prefix + "".join(f"\\x{byte:02x}" for byte in token.content)
