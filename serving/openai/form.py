"""The forms of OpenAI's answers: completions and chat completions, whole and in chunks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from serving.answers import Finished
from serving.logprobs import in_chat_form, in_completion_form
from serving.openai.schemas import ChatCompletionRequest, CompletionRequest
from serving.pieces import Piece
from serving.wire import event

# Makes an entry of ``choices`` from text, the end that came with it, and whether it is the first.
Choice = Callable[[Piece, Finished | None, bool], dict[str, Any]]


class Form:
    """The form of an answer.

    Args:
        prefix: of its id.
        whole, chunk: what the object and each of its chunks call themselves.
        model: its name, as the request has it.
        choice, delta: an entry of ``choices`` of either.
    """

    def __init__(
        self, prefix: str, whole: str, chunk: str, model: str, choice: Choice, delta: Choice
    ) -> None:
        head = {"id": f"{prefix}-{uuid.uuid4().hex[:24]}", "created": int(time.time())}
        head |= {"model": model, "system_fingerprint": "fp_gpu_learning"}
        self._whole = head | {"object": whole}
        self._chunk = head | {"object": chunk}
        self._choice, self._delta = choice, delta

    def whole(self, answers: Sequence[tuple[Piece, Finished]], count: int) -> dict[str, Any]:
        """All answers, ``count`` for each prompt."""
        choices = [self._choice(piece, done, True) for piece, done in answers]
        usage = _usage([done for _, done in answers], count)
        return self._whole | {"choices": choices, "usage": usage}

    def chunk(self, piece: Piece, done: Finished | None, first: bool) -> bytes:
        return event(self._chunk | {"choices": [self._delta(piece, done, first)]})

    def usage(self, ends: Sequence[Finished], count: int) -> bytes:
        return event(self._chunk | {"choices": [], "usage": _usage(ends, count)})


def completion_form(asked: CompletionRequest) -> Form:
    """The form of /v1/completions."""

    def choice(piece: Piece, done: Finished | None, first: bool) -> dict[str, Any]:
        logprobs = None
        if asked.logprobs is not None:  # with the token that ended the text, as the harnesses count
            logprobs = in_completion_form([*piece.logprobs, *(done.logprobs if done else ())])
        return {
            "index": piece.choice,
            "text": piece,
            "finish_reason": done.reason if done else None,
            "logprobs": logprobs,
        }

    return Form("cmpl", "text_completion", "text_completion", asked.model or "", choice, choice)


def chat_form(asked: ChatCompletionRequest) -> Form:
    """The form of /v1/chat/completions."""

    def entry(
        name: str, content: dict[str, str], piece: Piece, done: Finished | None
    ) -> dict[str, Any]:
        return {
            "index": piece.choice,
            name: content,
            "finish_reason": done.reason if done else None,
            "logprobs": in_chat_form(piece.logprobs) if asked.logprobs else None,
        }

    def whole(piece: Piece, done: Finished | None, first: bool) -> dict[str, Any]:
        return entry("message", {"role": "assistant", "content": piece}, piece, done)

    def delta(piece: Piece, done: Finished | None, first: bool) -> dict[str, Any]:
        content = ({"role": "assistant"} if first else {}) | ({"content": piece} if piece else {})
        return entry("delta", content, piece, done)

    name = asked.model or ""
    return Form("chatcmpl", "chat.completion", "chat.completion.chunk", name, whole, delta)


def _usage(ends: Sequence[Finished], count: int) -> dict[str, int]:
    """Tokens of all answers; a prompt that has ``count`` of them is counted once."""
    prompt = sum(done.prompt_tokens for done in ends if done.choice % count == 0)
    generated = sum(done.tokens for done in ends)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
    }
