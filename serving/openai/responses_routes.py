"""OpenAI's API: responses, of which the server keeps nothing."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from serving.answers import Finished, GenerationRequest, complete, stream
from serving.artifact import GENERATE
from serving.errors import ApiError
from serving.openai.response_format import response_schema
from serving.openai.schemas import ResponseRequest
from serving.options import only_neutral, sampling_options, token_limit
from serving.prompts import conversation, length_of, text_of, turns
from serving.settings import Settings
from serving.state import model_for, state, takes
from serving.streaming import Stream
from serving.wire import event, read

router = APIRouter(prefix="/v1", tags=["OpenAI"])
# What this server does not do: asked for with another value than these it is refused.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "previous_response_id": (),
    "conversation": (),
    "prompt": (),
    "store": (False,),
    "background": (False,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "reasoning": ({}, {"effort": None}, {"effort": "none"}),
    # There is no reasoning that could be returned.
    "include": ([], ["reasoning.encrypted_content"]),
    "top_logprobs": (0,),
    "moderation": (),
    "context_management": ([],),
    "truncation": ("auto", "disabled"),
}
_PARTS = ("input_text", "output_text", "text")


@router.post("/responses", openapi_extra=takes(ResponseRequest))
async def responses(request: Request) -> Response:
    """Answers an input; what is longer than the context is refused, or cut with truncation auto."""
    server = state(request)
    asked = await read(ResponseRequest, request)
    artifact = model_for(request, asked.model, GENERATE, "generate")
    only_neutral(asked, _NEUTRAL)
    limits = server.settings
    messages = _messages(asked, limits)
    given = {
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        "top_p": 1.0 if asked.top_p is None else asked.top_p,
        "num_predict": token_limit(asked.max_output_tokens, "max_output_tokens"),
    }
    options = sampling_options(given, artifact.context, limits, schema=_schema(asked))
    cut = asked.truncation == "auto"
    prompt = conversation(artifact, messages, options.window, cut, limits)
    wanted = GenerationRequest(artifact, None, prompt, length_of(messages), options, cut)
    form = _Form(asked)
    if not asked.stream:
        return JSONResponse(form.response(*await complete(server, wanted, request.receive)))

    async def events() -> AsyncGenerator[bytes, None]:
        pieces: list[str] | None = None
        async for piece in stream(server, wanted):
            if pieces is None:
                pieces = []
                yield form.start()
            if isinstance(piece, Finished):
                yield form.end("".join(pieces), piece)
            else:
                pieces.append(piece)
                yield form.delta(piece)

    return Stream(events(), "text/event-stream", on_error=form.failure)


def _messages(asked: ResponseRequest, limits: Settings) -> list[tuple[str, str]]:
    items = asked.input
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if not isinstance(items, list) or not items:
        raise ApiError(400, "input must be a string or a list of messages")
    pairs = [("system", asked.instructions)] if asked.instructions else []
    for number, item in enumerate(items):
        kind = item.get("type", "message") if isinstance(item, dict) else None
        role = item.get("role") if isinstance(item, dict) else None
        if kind != "message" or not isinstance(role, str):
            what = f"an item of type {kind[:40]!a}" if isinstance(kind, str) else "no message"
            raise ApiError(400, f"input.{number} is {what}; only messages are supported")
        pairs.append((role, text_of(item.get("content"), _PARTS, limits)))
    return turns(pairs, limits)


def _schema(asked: ResponseRequest) -> Mapping[str, Any] | None:
    """The JSON Schema that ``text`` asks for; a form that cannot be had is refused."""
    text = asked.text or {}
    if text.get("verbosity") not in (None, "medium"):
        raise ApiError(400, "text.verbosity is not supported by this server")
    form = text.get("format")
    if form is not None and not isinstance(form, dict):
        raise ApiError(400, "text.format must be an object")
    # Here the schema is not in an object of its own.
    nested = form and form | {"json_schema": {"schema": form.get("schema")}}
    return response_schema(nested, "text.format")


class _Form:
    """The form of an answer, whole or as numbered events."""

    def __init__(self, asked: ResponseRequest) -> None:
        self._item = f"msg_{uuid.uuid4().hex}"
        self._number = 0
        self._head = {
            "id": f"resp_{uuid.uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
            "model": asked.model,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "temperature": 1.0 if asked.temperature is None else asked.temperature,
            "top_p": 1.0 if asked.top_p is None else asked.top_p,
            "text": asked.text or {"format": {"type": "text"}},
            "truncation": asked.truncation or "disabled",
            "metadata": asked.metadata or {},
            "store": False,
            "background": False,
            "previous_response_id": None,
            "parallel_tool_calls": True,
            "tool_choice": asked.tool_choice or "auto",
            "tools": [],
        }

    def response(self, text: str, done: Finished) -> dict[str, Any]:
        """The whole answer."""
        cut = done.reason == "length"
        usage = {
            "input_tokens": done.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": done.tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": done.prompt_tokens + done.tokens,
        }
        status = "incomplete" if cut else "completed"
        reason = {"reason": "max_output_tokens"} if cut else None
        return self._document(status, [self._message(status, text)], usage, reason)

    def start(self) -> bytes:
        """The events before the first piece of text."""
        begun = {"response": self._document("in_progress", [])}
        return (
            self._event("response.created", **begun)
            + self._event("response.in_progress", **begun)
            + self._event(
                "response.output_item.added", output_index=0, item=self._message("in_progress")
            )
            + self._part("response.content_part.added", part=_part(""))
        )

    def delta(self, piece: str) -> bytes:
        return self._part("response.output_text.delta", delta=piece, logprobs=[])

    def end(self, text: str, done: Finished) -> bytes:
        """The events after the last piece of text."""
        response = self.response(text, done)
        return (
            self._part("response.output_text.done", text=text, logprobs=[])
            + self._part("response.content_part.done", part=_part(text))
            + self._event("response.output_item.done", output_index=0, item=response["output"][0])
            + self._event(f"response.{response['status']}", response=response)
        )

    def failure(self, error: ApiError) -> bytes:
        """The event that ends a stream in the middle."""
        failed = {"code": "server_error", "message": error.text}
        return self._event("response.failed", response=self._document("failed", [], error=failed))

    def _document(
        self,
        status: str,
        output: list[dict[str, Any]],
        usage: dict[str, Any] | None = None,
        incomplete: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        state = {"status": status, "error": error, "incomplete_details": incomplete}
        return self._head | state | {"output": output, "usage": usage}

    def _message(self, status: str, text: str | None = None) -> dict[str, Any]:
        content = [] if text is None else [_part(text)]
        head = {"id": self._item, "type": "message", "role": "assistant"}
        return head | {"status": status, "content": content}

    def _part(self, name: str, **fields: Any) -> bytes:
        """An event of the only part of the only item."""
        return self._event(name, item_id=self._item, output_index=0, content_index=0, **fields)

    def _event(self, name: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return event({"type": name, "sequence_number": number} | fields, name)


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
