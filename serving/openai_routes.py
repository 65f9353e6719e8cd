"""OpenAI's API over the same models."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from serving.answers import Asked, Done, run
from serving.artifact import GENERATE, Artifact
from serving.errors import ApiError
from serving.openai_schemas import ChatCompletionRequest, ChatMessage, CompletionRequest
from serving.options import read_options
from serving.prompts import as_given, conversation, filled_in
from serving.state import need, state, takes
from serving.streaming import Stream, unless_gone
from serving.wire import dump, read

router = APIRouter(prefix="/v1", tags=["OpenAI"])
# What no model here does: asked for with another value than these it is refused.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "logprobs": (False,),
    "logit_bias": ({},),
    "suffix": ("",),
    "tools": ([],),
    "response_format": ({"type": "text"}, {"type": "json_object"}),
}
_KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}


@router.get("/models")
async def models(request: Request) -> Response:
    """The models in the folder."""
    found = state(request).registry.artifacts()
    return JSONResponse({"object": "list", "data": [_entry(artifact) for artifact in found]})


@router.get("/models/{model}")
async def model(request: Request, model: str) -> Response:
    """One of them."""
    return JSONResponse(_entry(state(request).registry.find(model)))


@router.post("/completions", openapi_extra=takes(CompletionRequest))
async def completions(request: Request) -> Response:
    """Goes on with a prompt."""
    asked = read(CompletionRequest, await request.body())
    artifact = _find(request, asked)
    prompt = asked.prompt
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise ApiError(400, "prompt must be a string")
    text = filled_in(None, artifact, "", prompt)
    options = _options(asked, artifact, asked.max_tokens)
    wanted = Asked(artifact, None, as_given(text), len(text), options)

    def choice(text: str, reason: str | None, first: bool) -> dict[str, Any]:
        return {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}

    form = _Form("cmpl", "text_completion", "text_completion", asked.model or "", choice, choice)
    return await _answer(request, asked, wanted, form)


@router.post("/chat/completions", openapi_extra=takes(ChatCompletionRequest))
async def chat_completions(request: Request) -> Response:
    """Answers the last message of a conversation."""
    asked = read(ChatCompletionRequest, await request.body())
    artifact = _find(request, asked)
    turns = [((one.role or "").lower(), _content(one)) for one in asked.messages or []]
    if not turns:
        raise ApiError(400, "[] is too short - 'messages'")
    most = asked.max_completion_tokens
    options = _options(asked, artifact, asked.max_tokens if most is None else most)
    length = sum(len(content) for _, content in turns)
    prompt = conversation(artifact, turns, options["num_ctx"], truncate=True)

    def whole(text: str, reason: str | None, first: bool) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        return {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}

    def chunk(text: str, reason: str | None, first: bool) -> dict[str, Any]:
        delta = ({"role": "assistant"} if first else {}) | ({"content": text} if text else {})
        return {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}

    name = asked.model or ""
    form = _Form("chatcmpl", "chat.completion", "chat.completion.chunk", name, whole, chunk)
    json = (asked.response_format or {}).get("type") == "json_object"
    wanted = Asked(artifact, None, prompt, length, options, json=json)
    return await _answer(request, asked, wanted, form)


class _Form:
    """How an answer is told: whole, or in chunks."""

    def __init__(
        self,
        prefix: str,
        whole: str,
        chunk: str,
        model: str,
        choice: Callable[[str, str | None, bool], dict[str, Any]],
        delta: Callable[[str, str | None, bool], dict[str, Any]],
    ) -> None:
        head = {"id": f"{prefix}-{uuid.uuid4().hex[:24]}", "created": int(time.time())}
        head |= {"model": model, "system_fingerprint": "fp_gpu_learning"}
        self._whole = head | {"object": whole}
        self._chunk = head | {"object": chunk}
        self._choice, self._delta = choice, delta

    def whole(self, text: str, done: Done) -> dict[str, Any]:
        return self._whole | {
            "choices": [self._choice(text, done.reason, True)],
            "usage": _usage(done),
        }

    def chunk(self, text: str, reason: str | None, first: bool) -> bytes:
        return _event(self._chunk | {"choices": [self._delta(text, reason, first)]})

    def usage(self, done: Done) -> bytes:
        return _event(self._chunk | {"choices": [], "usage": _usage(done)})


async def _answer(
    request: Request,
    asked: CompletionRequest | ChatCompletionRequest,
    wanted: Asked,
    form: _Form,
) -> Response:
    server = state(request)
    if not asked.stream:

        async def whole() -> dict[str, Any]:
            pieces: list[str] = []
            async for piece in run(server, wanted):
                if isinstance(piece, Done):
                    return form.whole("".join(pieces), piece)
                pieces.append(piece)
            raise AssertionError("a text ends with Done or an error")

        return JSONResponse(await unless_gone(request.receive, whole()))
    with_usage = bool(asked.stream_options and asked.stream_options.include_usage)

    async def events() -> AsyncGenerator[bytes, None]:
        first = True
        async for piece in run(server, wanted):
            if isinstance(piece, Done):
                yield form.chunk("", piece.reason, first)
                if with_usage:
                    yield form.usage(piece)
            else:
                yield form.chunk(piece, None, first)
            first = False
        yield b"data: [DONE]\n\n"

    return Stream(
        events(),
        "text/event-stream",
        on_error=lambda error: _event(_error(error)),
        refuse=refusal,
        stall=server.settings.stall_seconds,
    )


def refusal(error: ApiError) -> Response:
    """An error in OpenAI's form."""
    return JSONResponse(_error(error), error.status)


def _error(error: ApiError) -> dict[str, Any]:
    kind = _KINDS.get(error.status, "api_error")
    return {"error": {"message": error.text, "type": kind, "param": None, "code": None}}


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + dump(document) + b"\n\n"


def _usage(done: Done) -> dict[str, int]:
    return {
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.tokens,
        "total_tokens": done.prompt_tokens + done.tokens,
    }


def _entry(artifact: Artifact) -> dict[str, Any]:
    created = artifact.modified_ns // 10**9
    return {"id": artifact.full_name, "object": "model", "created": created, "owned_by": "library"}


def _find(request: Request, asked: CompletionRequest | ChatCompletionRequest) -> Artifact:
    """The model, when nothing is asked that it cannot do."""
    name = asked.model or ""
    if not name:
        raise ApiError(400, "model is required")
    artifact = state(request).registry.find(name)
    need(artifact, name, GENERATE, "generate")
    for field, neutral in _NEUTRAL.items():
        value = getattr(asked, field, None)
        if value is not None and value not in neutral:
            raise ApiError(400, f"{field} is not supported by this server")
    return artifact


def _options(
    asked: CompletionRequest | ChatCompletionRequest, artifact: Artifact, most: int | None
) -> dict[str, Any]:
    """OpenAI's defaults, and Ollama's where OpenAI has no such option."""
    if most is not None and most < 1:
        raise ApiError(400, "max_tokens must be at least 1")
    stop = [asked.stop] if isinstance(asked.stop, str) else asked.stop
    given = {
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        "top_p": 1.0 if asked.top_p is None else asked.top_p,
        "frequency_penalty": asked.frequency_penalty,
        "presence_penalty": asked.presence_penalty,
        "seed": asked.seed,
        "num_predict": most,
        "stop": stop,
    }
    return read_options(given)


def _content(message: ChatMessage) -> str:
    """The text of a message; its parts may be text only."""
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    parts = message.content if isinstance(message.content, list) else [None]
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            raise ApiError(400, "invalid message content: only text is supported")
        texts.append(text)
    return "\n\n".join(texts)
