"""Anthropic's API over the same models."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from inference.text.options import SamplingOptions
from serving.answers import Finished, GenerationRequest, ask_tokenizer, complete, stream
from serving.anthropic.schemas import CountTokensRequest, MessagesRequest
from serving.artifact import GENERATE
from serving.errors import ApiError
from serving.loaded import Loaded
from serving.options import only_neutral, sampling_options
from serving.prompts import conversation, length_of, text_of, turns
from serving.refusals import document
from serving.settings import Settings
from serving.state import model_for, state, takes
from serving.streaming import Stream
from serving.wire import event, read

router = APIRouter(prefix="/v1/messages", tags=["Anthropic"])
# What this server does not do: asked for with another value than these it is refused.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ({"type": "none"}, {"type": "auto"}),
    "thinking": ({"type": "disabled"},),
    "output_config": ({},),
    "container": (),
    "mcp_servers": ([],),
    "context_management": ({},),
}


@router.post("", openapi_extra=takes(MessagesRequest))
async def create(request: Request) -> Response:
    """Answers the last message; a conversation that is longer than the context is refused."""
    server = state(request)
    asked = await read(MessagesRequest, request)
    artifact = model_for(request, asked.model, GENERATE, "generate")
    messages = _messages(asked, server.settings)
    options = _options(asked, artifact.context, server.settings)
    prompt = conversation(artifact, messages, options.window, False, server.settings)
    form = _Form(asked.model)

    def counted(loaded: Loaded) -> list[int]:
        ids = prompt(loaded)
        form.prompt_tokens = len(ids)
        return ids

    wanted = GenerationRequest(artifact, None, counted, length_of(messages), options, False)
    if not asked.stream:
        return JSONResponse(form.message(*await complete(server, wanted, request.receive)))

    async def events() -> AsyncGenerator[bytes, None]:
        started = False
        async for piece in stream(server, wanted):
            if not started:
                started = True
                yield form.start()
            yield form.end(piece) if isinstance(piece, Finished) else form.delta(piece)

    return Stream(
        events(),
        "text/event-stream",
        on_error=lambda error: event(document(request.scope["path"], error), "error"),
    )


@router.post("/count_tokens", openapi_extra=takes(CountTokensRequest))
async def count(request: Request) -> Response:
    """How many tokens a conversation has in the model's template."""
    server = state(request)
    asked = await read(CountTokensRequest, request)
    artifact = model_for(request, asked.model, GENERATE, "generate")
    messages = _messages(asked, server.settings)
    prompt = conversation(artifact, messages, artifact.context, False, server.settings)
    ids = await ask_tokenizer(server, artifact, prompt, length_of(messages))
    return JSONResponse({"input_tokens": len(ids)})


def _messages(asked: CountTokensRequest, limits: Settings) -> list[tuple[str, str]]:
    only_neutral(asked, _NEUTRAL)
    if not asked.messages:
        raise ApiError(400, "messages: at least one message is required")
    system = text_of(asked.system, ("text",), limits)
    pairs = [("system", system)] if system else []
    pairs += [(one.role, text_of(one.content, ("text",), limits)) for one in asked.messages]
    return turns(pairs, limits)


def _options(asked: MessagesRequest, context: int, limits: Settings) -> SamplingOptions:
    """Anthropic's defaults: neither the most likely tokens alone nor a lower temperature."""
    if asked.max_tokens is None or asked.max_tokens < 1:
        raise ApiError(400, "max_tokens is required and must be at least 1")
    given = {
        "num_predict": asked.max_tokens,
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        "top_p": 1.0 if asked.top_p is None else asked.top_p,
        "top_k": 0 if asked.top_k is None else asked.top_k,
        "stop": asked.stop_sequences,
    }
    return sampling_options(given, context, limits)


class _Form:
    """The form of an answer, whole or as events; ``prompt_tokens`` is known before the first."""

    def __init__(self, model: str | None) -> None:
        self.prompt_tokens = 0
        self._head = {
            "id": f"msg_{uuid.uuid4().hex[:24]}",
            "type": "message",
            "role": "assistant",
            "model": model,
        }

    def message(self, text: str, done: Finished) -> dict[str, Any]:
        """The whole answer."""
        content = [{"type": "text", "text": text}]
        return self._head | {"content": content} | _end(done) | {"usage": _usage(done)}

    def start(self) -> bytes:
        """The events before the first piece of text."""
        usage = {"input_tokens": self.prompt_tokens, "output_tokens": 0}
        begun = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        block = {"index": 0, "content_block": {"type": "text", "text": ""}}
        return (
            _event("message_start", message=self._head | begun)
            + _event("content_block_start", **block)
            + _event("ping")
        )

    def delta(self, piece: str) -> bytes:
        return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})

    def end(self, done: Finished) -> bytes:
        """The events after the last piece of text."""
        return (
            _event("content_block_stop", index=0)
            + _event("message_delta", delta=_end(done), usage=_usage(done))
            + _event("message_stop")
        )


def _end(done: Finished) -> dict[str, str | None]:
    reason = "max_tokens" if done.reason == "length" else "end_turn"
    reason = reason if done.stop is None else "stop_sequence"
    return {"stop_reason": reason, "stop_sequence": done.stop}


def _usage(done: Finished) -> dict[str, int]:
    return {"input_tokens": done.prompt_tokens, "output_tokens": done.tokens}


def _event(name: str, **fields: Any) -> bytes:
    return event({"type": name} | fields, name)
