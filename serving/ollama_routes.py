"""Ollama's API: text."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from serving.answers import Asked, Done, run
from serving.artifact import GENERATE, Artifact
from serving.durations import seconds
from serving.errors import ApiError, unsupported
from serving.ollama_schemas import ChatRequest, GenerateRequest
from serving.options import read_options
from serving.prompts import as_given, conversation, filled_in
from serving.state import State, need, state, takes
from serving.streaming import Stream, unless_gone
from serving.wire import line, read, timestamp, without_zeros

router = APIRouter(tags=["Ollama"])
# Makes what stands for the text in an answer: {"response": ...} or {"message": ...}.
Told = Callable[[str], dict[str, Any]]


@router.post("/api/generate", openapi_extra=takes(GenerateRequest))
async def generate(request: Request) -> Response:
    """Goes on with a prompt."""
    began = time.perf_counter_ns()
    server = state(request)
    asked = read(GenerateRequest, await request.body())
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
    options = read_options(asked.options)
    if not prompt:
        return await _load(server, artifact, name, keep_alive, _response)
    if asked.raw:
        tokens, length = as_given(prompt), len(prompt)
    else:
        text = filled_in(asked.template, artifact, asked.system or "", prompt)
        tokens, length = as_given(text, asked.context), len(text)
    wanted = Asked(
        artifact,
        keep_alive,
        tokens,
        length,
        options,
        truncate=asked.truncate is not False,
        shift=asked.shift is not False,
        json=asked.format == "json",
    )
    return await _answer(request, wanted, name, asked.stream, began, _response, not asked.raw)


@router.post("/api/chat", openapi_extra=takes(ChatRequest))
async def chat(request: Request) -> Response:
    """Answers the last message of a conversation."""
    began = time.perf_counter_ns()
    server = state(request)
    asked = read(ChatRequest, await request.body())
    name, messages = asked.model or "", asked.messages or []
    _check_logprobs(asked)
    if not name:
        raise ApiError(400, "model is required")
    artifact = server.registry.find(name)
    keep_alive = seconds(asked.keep_alive)
    if not messages and keep_alive == 0:
        return await _unload(server, artifact, name, _message)
    need(artifact, name, GENERATE, "chat")
    if asked.tools:
        raise unsupported(name, "tools")
    _check(asked, name, any(message.images for message in messages))
    options = read_options(asked.options)
    if not messages:
        return await _load(server, artifact, name, keep_alive, _message)
    turns = [((message.role or "").lower(), message.content or "") for message in messages]
    truncate = asked.truncate is not False
    wanted = Asked(
        artifact,
        keep_alive,
        conversation(artifact, turns, options["num_ctx"], truncate),
        sum(len(content) for _, content in turns),
        options,
        truncate,
        shift=asked.shift is not False,
        json=asked.format == "json",
    )
    return await _answer(request, wanted, name, asked.stream, began, _message, False)


async def _answer(
    request: Request,
    wanted: Asked,
    name: str,
    stream: bool | None,
    began: int,
    told: Told,
    context: bool,
) -> Response:
    server = state(request)

    def last(text: str, done: Done) -> dict[str, Any]:
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
        return _head(name) | told(text) | end | without_zeros(metrics)

    if stream is False:
        return JSONResponse(await unless_gone(request.receive, _whole(server, wanted, last)))

    async def lines() -> AsyncGenerator[bytes, None]:
        async for piece in run(server, wanted):
            if isinstance(piece, Done):
                yield line(last("", piece))
            else:
                yield line(_head(name) | told(piece) | {"done": False})

    return Stream(
        lines(),
        "application/x-ndjson",
        on_error=lambda error: line({"error": error.text}),
        refuse=refusal,
        stall=server.settings.stall_seconds,
    )


async def _whole(
    server: State, wanted: Asked, last: Callable[[str, Done], dict[str, Any]]
) -> dict[str, Any]:
    pieces: list[str] = []
    async for piece in run(server, wanted):
        if isinstance(piece, Done):
            return last("".join(pieces), piece)
        pieces.append(piece)
    raise AssertionError("a text ends with Done or an error")


async def _load(
    server: State, artifact: Artifact, name: str, keep_alive: float | None, told: Told
) -> Response:
    """An empty prompt only brings the model into memory."""
    async with server.registry.use(artifact, keep_alive):
        pass
    return JSONResponse(_head(name) | told("") | {"done": True, "done_reason": "load"})


async def _unload(server: State, artifact: Artifact, name: str, told: Told) -> Response:
    await server.registry.unload(artifact)
    return JSONResponse(_head(name) | told("") | {"done": True, "done_reason": "unload"})


def refusal(error: ApiError) -> Response:
    """An error in Ollama's form."""
    return JSONResponse({"error": error.text}, error.status)


def _head(name: str) -> dict[str, Any]:
    return {"model": name, "created_at": timestamp()}


def _response(text: str) -> dict[str, Any]:
    return {"response": text}


def _message(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}}


def _check_logprobs(asked: GenerateRequest | ChatRequest) -> None:
    if asked.top_logprobs is not None and not 0 <= asked.top_logprobs <= 20:
        raise ApiError(400, "top_logprobs must be between 0 and 20")
    if asked.logprobs:
        raise ApiError(400, "logprobs are not supported by this server")


def _check(asked: GenerateRequest | ChatRequest, name: str, images: bool) -> None:
    """What no model here can do is refused, not left out in silence."""
    if images:
        raise unsupported(name, "vision")
    if asked.think is not None and not isinstance(asked.think, bool | str):
        raise ApiError(400, 'think must be a boolean or string ("high", "medium", "low", true)')
    if asked.think:
        raise unsupported(name, "thinking")
    if asked.format in (None, "", "json"):
        return
    if isinstance(asked.format, dict):
        raise ApiError(400, 'format: a JSON schema is not supported by this server, "json" is')
    shown = f'"{asked.format[:100]}"' if isinstance(asked.format, str) else "no string"
    raise ApiError(400, f'invalid format: {shown}; expected "json" or a valid JSON Schema object')
