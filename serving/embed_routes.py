"""Ollama's API: texts as vectors."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from serving.artifact import GENERATE, Artifact
from serving.durations import seconds
from serving.errors import ApiError
from serving.ollama_schemas import EmbeddingsRequest, EmbedRequest
from serving.state import State, need, state, takes
from serving.streaming import unless_gone
from serving.wire import read, without_zeros

router = APIRouter(tags=["Ollama"])


@router.post("/api/embed", openapi_extra=takes(EmbedRequest))
async def embed(request: Request) -> Response:
    """A vector of length 1 for each text."""
    began = time.perf_counter_ns()
    server = state(request)
    asked = read(EmbedRequest, await request.body())
    name, texts = asked.model or "", _texts(asked.input)
    artifact = _find(server, name)
    size = asked.dimensions or 0
    if size < 0:
        raise ApiError(400, "dimensions must be at least 1")
    work = vectors(
        server, artifact, seconds(asked.keep_alive), texts, asked.truncate is not False, size
    )
    found, tokens, load_ns = await unless_gone(request.receive, work)
    metrics = {
        "total_duration": time.perf_counter_ns() - began,
        "load_duration": load_ns,
        "prompt_eval_count": tokens,
    }
    return JSONResponse({"model": name, "embeddings": found} | without_zeros(metrics))


@router.post("/api/embeddings", openapi_extra=takes(EmbeddingsRequest))
async def embeddings(request: Request) -> Response:
    """A vector for one text, in the form that came before /api/embed."""
    server = state(request)
    asked = read(EmbeddingsRequest, await request.body())
    artifact = _find(server, asked.model or "")
    texts = [asked.prompt] if asked.prompt else []
    work = vectors(server, artifact, seconds(asked.keep_alive), texts, True, 0)
    found, _, _ = await unless_gone(request.receive, work)
    return JSONResponse({"embedding": found[0] if found else []})


async def vectors(
    server: State,
    artifact: Artifact,
    keep_alive: float | None,
    texts: list[str],
    truncate: bool,
    size: int,
) -> tuple[list[list[float]], int, int]:
    """Vectors of ``size`` numbers (0: all), the number of tokens, and nanoseconds of loading.

    Raises:
        ApiError: 400 for a text that the model cannot read, or that is too long.
    """
    if sum(map(len, texts)) > server.settings.max_prompt:
        raise ApiError(400, f"the texts have more than {server.settings.max_prompt:,} characters")
    began = time.perf_counter_ns()
    async with server.registry.use(artifact, keep_alive) as loaded:
        load_ns = time.perf_counter_ns() - began
        try:
            found, tokens = [], 0
            for text in texts:
                ids = await asyncio.to_thread(loaded.tokens, text)
                if len(ids) > artifact.context and not truncate:
                    raise ApiError(400, "the input length exceeds the context length")
                ids = ids[: artifact.context]
                tokens += len(ids)
                # One at a time, so that running texts go on in between.
                found.append(await asyncio.wrap_future(loaded.embed(ids, size)))
        except ValueError as error:
            raise ApiError(400, str(error)) from error
    return found, tokens, load_ns


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
