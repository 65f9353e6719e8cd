"""Ollama's API: text."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from inference.text.options import ANY_OBJECT, MOST_ALTERNATIVES, SamplingOptions
from serving.answers import Finished, GenerationRequest, complete, stream
from serving.artifact import GENERATE, Artifact
from serving.errors import ApiError, unsupported
from serving.logprobs import in_ollamas_form
from serving.ollama.durations import seconds
from serving.ollama.schemas import ChatRequest, GenerateRequest
from serving.options import sampling_options
from serving.pieces import Piece
from serving.prompts import as_given, conversation, filled_in, length_of, turns
from serving.refusals import document
from serving.state import State, need, state, takes
from serving.streaming import Stream, made
from serving.wire import line, read, timestamp, without_zeros

router = APIRouter(tags=["Ollama"])
# Makes the field of an answer that holds its text: {"response": ...} or {"message": ...}.
TextField = Callable[[str], dict[str, Any]]


@router.post("/api/generate", openapi_extra=takes(GenerateRequest))
async def generate(request: Request) -> Response:
    """Completes a prompt."""
    began = time.perf_counter_ns()
    server = state(request)
    asked = await read(GenerateRequest, request)
    name, prompt = asked.model or "", asked.prompt or ""
    _check_logprobs(asked)
    artifact = server.registry.find(name)
    keep_alive = seconds(asked.keep_alive)
    if not prompt and keep_alive == 0:
        return await _unload(server, artifact, name, _response)
    if asked.raw and (asked.template or asked.system or asked.context):
        raise ApiError(400, "raw mode does not support template, system, or context")
    if asked.suffix:
        raise unsupported(name, "insert")
    need(artifact, name, GENERATE, "generate")
    _check(asked, name, bool(asked.images))
    options = _options(asked, artifact, server)
    if not prompt:
        return await _load(server, artifact, name, keep_alive, _response)
    if asked.raw:
        tokens, length = as_given(prompt), len(prompt)
    else:
        text = filled_in(asked.template, artifact, asked.system or "", prompt, server.settings)
        tokens, length = as_given(text, asked.context), len(text)
    truncate = asked.truncate is not False
    wanted = GenerationRequest(artifact, keep_alive, tokens, length, options, truncate)
    return await _answer(request, wanted, name, asked.stream, began, _response, not asked.raw)


@router.post("/api/chat", openapi_extra=takes(ChatRequest))
async def chat(request: Request) -> Response:
    """Answers the last message of a conversation."""
    began = time.perf_counter_ns()
    server = state(request)
    asked = await read(ChatRequest, request)
    name, messages = asked.model or "", asked.messages or []
    _check_logprobs(asked)
    if not name:
        raise ApiError(400, "model is required")
    artifact = server.registry.find(name)
    keep_alive = seconds(asked.keep_alive)
    if not messages and keep_alive == 0:
        return await _unload(server, artifact, name, _message)
    need(artifact, name, GENERATE, "chat")
    if asked.tools or any(message.tool_calls for message in messages):
        raise unsupported(name, "tools")
    if any(message.thinking for message in messages):
        raise unsupported(name, "thinking")
    _check(asked, name, any(message.images for message in messages))
    options = _options(asked, artifact, server)
    if not messages:
        return await _load(server, artifact, name, keep_alive, _message)
    pairs = turns(((message.role, message.content or "") for message in messages), server.settings)
    truncate = asked.truncate is not False
    prompt = conversation(artifact, pairs, options.window, truncate, server.settings)
    wanted = GenerationRequest(artifact, keep_alive, prompt, length_of(pairs), options, truncate)
    return await _answer(request, wanted, name, asked.stream, began, _message, False)


async def _answer(
    request: Request,
    wanted: GenerationRequest,
    name: str,
    streamed: bool | None,
    began: int,
    field: TextField,
    context: bool,
) -> Response:
    server = state(request)

    def last(text: str, done: Finished) -> dict[str, Any]:
        metrics = {
            "context": done.context if context else None,
            "total_duration": time.perf_counter_ns() - began,
            "load_duration": done.load_ns,
            "prompt_eval_count": done.prompt_tokens,
            "prompt_eval_duration": done.prompt_ns,
            "eval_count": done.tokens,
            "eval_duration": done.eval_ns,
        }
        end = {"done": True, "done_reason": done.reason}
        return _head(name) | field(text) | end | without_zeros(metrics)

    if streamed is False:
        text, done = await complete(server, wanted, request.receive)
        return await made(text.heavy, lambda: JSONResponse(last(text, done) | _scores(text)))

    def row(piece: Piece) -> bytes:
        return line(_head(name) | field(piece) | {"done": False} | _scores(piece))

    async def lines() -> AsyncGenerator[bytes, None]:
        async for piece in stream(server, wanted):
            if isinstance(piece, Finished):
                yield line(last("", piece))
            else:
                yield await made(piece.heavy, row, piece)

    return Stream(
        lines(),
        "application/x-ndjson",
        on_error=lambda error: line(document(request.scope["path"], error)),
    )


async def _load(
    server: State, artifact: Artifact, name: str, keep_alive: float | None, field: TextField
) -> Response:
    """An empty prompt only loads the model."""
    async with server.registry.use(artifact, keep_alive):
        pass
    return JSONResponse(_head(name) | field("") | {"done": True, "done_reason": "load"})


async def _unload(server: State, artifact: Artifact, name: str, field: TextField) -> Response:
    await server.registry.unload(artifact.name)
    return JSONResponse(_head(name) | field("") | {"done": True, "done_reason": "unload"})


def _head(name: str) -> dict[str, Any]:
    return {"model": name, "created_at": timestamp()}


def _response(text: str) -> dict[str, Any]:
    return {"response": text}


def _message(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}}


def _scores(piece: Piece) -> dict[str, Any]:
    return {"logprobs": in_ollamas_form(piece.logprobs)} if piece.logprobs else {}


def _options(
    asked: GenerateRequest | ChatRequest, artifact: Artifact, server: State
) -> SamplingOptions:
    options = sampling_options(
        asked.options,
        artifact.context,
        server.settings,
        shift=asked.shift is not False,
        schema=ANY_OBJECT if asked.format == "json" else _schema(asked.format),
    )
    return replace(options, logprobs=asked.top_logprobs or 0) if asked.logprobs else options


def _schema(format: Any) -> dict[str, Any] | None:
    return format if isinstance(format, dict) else None


def _check_logprobs(asked: GenerateRequest | ChatRequest) -> None:
    if asked.top_logprobs is not None and not 0 <= asked.top_logprobs <= MOST_ALTERNATIVES:
        raise ApiError(400, f"top_logprobs must be between 0 and {MOST_ALTERNATIVES}")


def _check(asked: GenerateRequest | ChatRequest, name: str, images: bool) -> None:
    """What no model here can do is refused, not left out in silence."""
    if images:
        raise unsupported(name, "vision")
    if asked.think is not None and not isinstance(asked.think, bool | str):
        raise ApiError(400, 'think must be a boolean or string ("high", "medium", "low", true)')
    if asked.think:
        raise unsupported(name, "thinking")
    if asked.format in (None, "", "json") or isinstance(asked.format, dict):
        return
    shown = f'"{asked.format[:100]}"' if isinstance(asked.format, str) else "no string"
    raise ApiError(400, f'invalid format: {shown}; expected "json" or a valid JSON Schema object')
