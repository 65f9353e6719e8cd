"""OpenAI's API over the same models."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from inference.text.options import SamplingOptions
from serving.answers import Finished, GenerationRequest, complete_all, stream
from serving.artifact import GENERATE, Artifact
from serving.errors import ApiError
from serving.openai.choices import bias_of, choices_of, prompts_of, scored, tokens_as_given
from serving.openai.form import Form, chat_form, completion_form
from serving.openai.response_format import response_schema
from serving.openai.schemas import ChatCompletionRequest, CompletionRequest
from serving.options import only_neutral, sampling_options, token_limit
from serving.pieces import Piece
from serving.prompts import as_given, conversation, filled_in, length_of, text_of, turns
from serving.refusals import document
from serving.settings import Settings
from serving.state import model_for, state, takes
from serving.streaming import Stream, made
from serving.wire import event, read

router = APIRouter(prefix="/v1", tags=["OpenAI"])
# What no model here does: asked for with another value than these it is refused.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
    "store": (False,),
}


@router.get("/models")
async def models(request: Request) -> Response:
    """The models in the folder."""
    entries = [_entry(artifact) for artifact in state(request).registry.artifacts()]
    # Anthropic's list is at the same path, with other fields.
    ends = {"first_id": entries[0]["id"], "last_id": entries[-1]["id"]} if entries else {}
    return JSONResponse({"object": "list", "data": entries, "has_more": False} | ends)


@router.get("/models/{model}")
async def model(request: Request, model: str) -> Response:
    """One of them."""
    return JSONResponse(_entry(state(request).registry.find(model)))


@router.post("/completions", openapi_extra=takes(CompletionRequest))
async def completions(request: Request) -> Response:
    """Completes prompts, each ``n`` times."""
    asked = await read(CompletionRequest, request)
    artifact = _find(request, asked)
    limits = state(request).settings
    nothing_new = bool(asked.echo) and asked.max_tokens == 0
    most = None if nothing_new else token_limit(asked.max_tokens, "max_tokens")
    options = scored(_options(asked, most, artifact, limits), asked)
    if nothing_new:
        options = replace(options, max_new_tokens=0, score_prompt=True)
    bias, echo = bias_of(asked.logit_bias, limits), bool(asked.echo)
    wanted = []
    for prompt in prompts_of(asked.prompt):
        if isinstance(prompt, str):
            prompt = filled_in(None, artifact, "", prompt, limits)
            tokens = as_given(prompt)
        else:
            tokens = tokens_as_given(prompt)
        # What is echoed is the whole prompt, or a refusal.
        one = GenerationRequest(artifact, None, tokens, len(prompt), options, not echo, echo, bias)
        wanted.append(one)
    return await _answer(request, asked, wanted, completion_form(asked))


@router.post("/chat/completions", openapi_extra=takes(ChatCompletionRequest))
async def chat_completions(request: Request) -> Response:
    """Answers the last message of a conversation."""
    asked = await read(ChatCompletionRequest, request)
    limits = state(request).settings
    artifact = _find(request, asked)
    given = asked.messages or []
    if not given:
        raise ApiError(400, "[] is too short - 'messages'")
    if any(one.tool_calls or one.function_call for one in given):
        raise ApiError(400, "tool_calls is not supported by this server")
    messages = turns(((one.role, text_of(one.content, ("text",), limits)) for one in given), limits)
    schema = response_schema(asked.response_format)
    options = _options(asked, _most(asked), artifact, limits, schema)
    options = scored(options, asked)
    prompt = conversation(artifact, messages, options.window, True, limits)

    bias = bias_of(asked.logit_bias, limits)
    wanted = GenerationRequest(artifact, None, prompt, length_of(messages), options, bias=bias)
    return await _answer(request, asked, [wanted], chat_form(asked))


def _most(asked: ChatCompletionRequest) -> int | None:
    """The limit of a chat, under its new name or its old one; as OpenAI, not under both.

    Raises:
        ApiError: 400 for both, or a number that is not possible.
    """
    if asked.max_completion_tokens is None:
        # Clients that have no limit of their own send 0 as well.
        return token_limit(None if asked.max_tokens == 0 else asked.max_tokens, "max_tokens")
    if asked.max_tokens is not None:
        raise ApiError(
            400, "max_tokens and max_completion_tokens are one limit; leave max_tokens out"
        )
    return token_limit(asked.max_completion_tokens, "max_completion_tokens")


async def _answer(
    request: Request,
    asked: CompletionRequest | ChatCompletionRequest,
    prompts: Sequence[GenerationRequest],
    form: Form,
) -> Response:
    server = state(request)
    wanted = choices_of(asked, prompts, server.settings)
    count = len(wanted) // len(prompts)
    if not asked.stream:
        answers = await complete_all(server, wanted, request.receive)
        large = any(piece.heavy for piece, _ in answers)
        return await made(large, lambda: JSONResponse(form.whole(answers, count)))
    with_usage = bool(asked.stream_options and asked.stream_options.include_usage)

    async def events() -> AsyncGenerator[bytes, None]:
        begun: set[int] = set()
        ends: list[Finished] = []
        async for piece in stream(server, *wanted):
            first = piece.choice not in begun
            begun.add(piece.choice)
            if isinstance(piece, Finished):
                ends.append(piece)
                yield form.chunk(Piece("", piece.choice), piece, first)
            else:
                yield await made(piece.heavy, form.chunk, piece, None, first)
        if with_usage:
            yield form.usage(ends, count)
        yield b"data: [DONE]\n\n"

    return Stream(
        events(),
        "text/event-stream",
        on_error=lambda error: event(document(request.scope["path"], error)),
    )


def _entry(artifact: Artifact) -> dict[str, Any]:
    created = artifact.modified_ns // 10**9
    openai = {"object": "model", "created": created, "owned_by": "library"}
    anthropic = {"type": "model", "display_name": artifact.name, "created_at": artifact.modified_at}
    return {"id": artifact.full_name} | openai | anthropic


def _find(request: Request, asked: CompletionRequest | ChatCompletionRequest) -> Artifact:
    """The model, when nothing is asked that it cannot do."""
    artifact = model_for(request, asked.model, GENERATE, "generate")
    only_neutral(asked, _NEUTRAL)
    return artifact


def _options(
    asked: CompletionRequest | ChatCompletionRequest,
    most: int | None,
    artifact: Artifact,
    limits: Settings,
    schema: Mapping[str, Any] | None = None,
) -> SamplingOptions:
    """OpenAI's defaults, and Ollama's where OpenAI has no such option."""
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
    return sampling_options(given, artifact.context, limits, schema=schema)
