"""Ollama's API: which models there are, and what they are."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from serving.artifact import Artifact
from serving.errors import ApiError
from serving.loaded import Loaded
from serving.ollama.schemas import ShowRequest
from serving.registry import describe
from serving.state import state, takes
from serving.wire import read, timestamp

# The release whose contract is followed; clients look at it to know what they may ask.
OLLAMA_VERSION = "0.33.0"
router = APIRouter(tags=["Ollama"])


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def root() -> Response:
    return PlainTextResponse("Ollama is running")


@router.head("/api/version", include_in_schema=False)
@router.get("/api/version")
async def version() -> Response:
    """The version of Ollama's API that is spoken here."""
    return JSONResponse({"version": OLLAMA_VERSION})


@router.head("/api/tags", include_in_schema=False)
@router.get("/api/tags")
async def tags(request: Request) -> Response:
    """The models in the folder."""
    found = state(request).registry.artifacts()
    return JSONResponse({"models": [describe(artifact) for artifact in found]})


@router.get("/api/ps")
async def ps(request: Request) -> Response:
    """The models in memory."""
    return JSONResponse({"models": [_running(one) for one in state(request).registry.running()]})


@router.post("/api/show", openapi_extra=takes(ShowRequest))
async def show(request: Request) -> Response:
    """What a model is."""
    asked = await read(ShowRequest, request)
    name = asked.model or asked.name
    if not name:
        raise ApiError(400, "model is required")
    artifact = state(request).registry.find(name)
    document: dict[str, Any] = {
        "modelfile": _modelfile(artifact),
        "template": artifact.template.source,
        "details": artifact.details,
        "model_info": await asyncio.to_thread(_info, artifact, bool(asked.verbose)),
        "capabilities": artifact.capabilities,
        "modified_at": artifact.modified_at,
    }
    if artifact.manifest.labels:
        document["labels"] = list(artifact.manifest.labels)
    return JSONResponse(document)


def _running(loaded: Loaded) -> dict[str, Any]:
    artifact = loaded.artifact
    # What stays for ever has the end of Go's longest duration.
    expires = time.time() + 9.2e9 if math.isinf(loaded.expires) else loaded.expires
    entry = {
        "name": artifact.full_name,
        "model": artifact.full_name,
        "size": artifact.size,
        "digest": artifact.digest,
        "details": artifact.details,
        "expires_at": timestamp(int(expires * 1e9)),
        "size_vram": artifact.size if loaded.on_gpu else 0,
    }
    if loaded.batcher:
        entry["context_length"] = artifact.context
    return entry


def _modelfile(artifact: Artifact) -> str:
    return f'FROM {artifact.full_name}\nTEMPLATE """{artifact.template.source}"""\n'


def _info(artifact: Artifact, verbose: bool) -> dict[str, Any]:
    arch = artifact.architecture
    info: dict[str, Any] = {
        "general.architecture": arch,
        "general.basename": artifact.name,
        "general.parameter_count": artifact.count,
    }
    config = artifact.manifest.document.get("config")
    if artifact.manifest.task != "text-generation" or not isinstance(config, dict):
        return info
    info |= {
        f"{arch}.context_length": config["context"],
        f"{arch}.embedding_length": config["width"],
        f"{arch}.feed_forward_length": config["hidden"] or 4 * config["width"],
        f"{arch}.block_count": config["layers"],
        f"{arch}.attention.head_count": config["heads"],
        f"{arch}.vocab_size": config["vocab_size"],
        "tokenizer.ggml.tokens": None,
    }
    if verbose:
        from inference.text.tokenizer import Tokenizer

        tokenizer = Tokenizer(artifact.manifest.files["tokenizer"].read().decode())
        info["tokenizer.ggml.tokens"] = [
            piece.decode("utf-8", "replace") for piece in tokenizer.pieces
        ]
    return info
