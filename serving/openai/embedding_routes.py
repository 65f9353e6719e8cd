"""OpenAI's API: embeddings."""

from __future__ import annotations

import base64
import struct
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from serving.artifact import GENERATE, Artifact
from serving.embeddings import vectors
from serving.errors import ApiError
from serving.openai.schemas import EmbeddingRequest
from serving.state import model_for, state, takes
from serving.streaming import unless_gone
from serving.wire import dump, read

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/embeddings", openapi_extra=takes(EmbeddingRequest))
async def embeddings(request: Request) -> Response:
    """A vector of length 1 for each input; an input longer than the context is refused."""
    server = state(request)
    asked = await read(EmbeddingRequest, request)
    artifact = model_for(request, asked.model, GENERATE, "embeddings")
    inputs = _inputs(asked.input)
    if asked.encoding_format not in (None, "float", "base64"):
        raise ApiError(400, "encoding_format must be float or base64")
    encode = _base64 if asked.encoding_format == "base64" else dump
    work = vectors(server, artifact, None, inputs, encode, False, _size(asked, artifact))
    found, tokens, _ = await unless_gone(request.receive, work, server.settings.answer_seconds)
    head = dump({"object": "list", "model": asked.model})
    usage = dump({"prompt_tokens": tokens, "total_tokens": tokens})
    entries = [
        b'{"object":"embedding","index":%d,"embedding":%b}' % pair for pair in enumerate(found)
    ]
    content = b'%b,"data":[%b],"usage":%b}' % (head[:-1], b",".join(entries), usage)
    return Response(content, media_type="application/json")


def _inputs(given: Any) -> list[str | list[int]]:
    """A text, a list of texts, the tokens of a text, or a list of those."""
    items = [given] if isinstance(given, str) or _is_tokens(given) else given
    if not items or (isinstance(items, list) and "" in items):
        raise ApiError(400, "input must not be empty")
    if not isinstance(items, list) or not all(
        isinstance(item, str) or _is_tokens(item) for item in items
    ):
        raise ApiError(400, "input must be a string, a list of strings, or lists of token numbers")
    return items


def _is_tokens(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(type(one) is int for one in given)


def _size(asked: EmbeddingRequest, artifact: Artifact) -> int:
    if asked.dimensions is None:
        return 0
    width = artifact.details["embedding_length"]
    if not 1 <= asked.dimensions <= width:
        raise ApiError(400, f"dimensions must be from 1 to {width}, which the model has")
    return asked.dimensions


def _base64(vector: list[float]) -> bytes:
    """The numbers as little-endian float32, which the SDKs ask for by default."""
    return b'"%b"' % base64.b64encode(struct.pack(f"<{len(vector)}f", *vector))
