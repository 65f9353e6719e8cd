"""Ollama's API: embeddings."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from serving.artifact import GENERATE, Artifact
from serving.embeddings import vectors
from serving.errors import ApiError
from serving.ollama.durations import seconds
from serving.ollama.schemas import EmbeddingsRequest, EmbedRequest
from serving.state import State, need, state, takes
from serving.streaming import unless_gone
from serving.wire import dump, read, without_zeros

router = APIRouter(tags=["Ollama"])


@router.post("/api/embed", openapi_extra=takes(EmbedRequest))
async def embed(request: Request) -> Response:
    """A vector of length 1 for each text."""
    began = time.perf_counter_ns()
    server = state(request)
    asked = await read(EmbedRequest, request)
    name, texts = asked.model or "", _texts(asked.input)
    artifact = _find(server, name)
    size = asked.dimensions or 0
    if size < 0:
        raise ApiError(400, "dimensions must be at least 1")
    truncate = asked.truncate is not False
    work = vectors(server, artifact, seconds(asked.keep_alive), texts, dump, truncate, size)
    found, tokens, load_ns = await unless_gone(
        request.receive, work, server.settings.answer_seconds
    )
    metrics = {
        "total_duration": time.perf_counter_ns() - began,
        "load_duration": load_ns,
        "prompt_eval_count": tokens,
    }
    content = dump({"model": name, "embeddings": []} | without_zeros(metrics))
    # Quotes within a string have a backslash, so this is the field.
    filled = content.replace(b'"embeddings":[]', b'"embeddings":[%b]' % b",".join(found))
    return Response(filled, media_type="application/json")


@router.post("/api/embeddings", openapi_extra=takes(EmbeddingsRequest))
async def embeddings(request: Request) -> Response:
    """A vector for one text, in the form that came before /api/embed."""
    server = state(request)
    asked = await read(EmbeddingsRequest, request)
    artifact = _find(server, asked.model or "")
    texts = [asked.prompt] if asked.prompt else []
    work = vectors(server, artifact, seconds(asked.keep_alive), texts, dump)
    found, _, _ = await unless_gone(request.receive, work, server.settings.answer_seconds)
    vector = found[0] if found else b"[]"
    return Response(b'{"embedding":%b}' % vector, media_type="application/json")


def _find(server: State, name: str) -> Artifact:
    try:
        artifact = server.registry.find(name)
    except ApiError as error:
        if error.status != 404:
            raise
        raise ApiError(404, f'model "{name}" not found, try pulling it first') from error
    need(artifact, name, GENERATE, "embeddings")
    return artifact


def _texts(given: Any) -> list[str]:
    if given is None or given == "":
        return []
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and all(isinstance(text, str) for text in given):
        return given
    raise ApiError(400, "invalid input type")
