"""Ollama's API: copying and deleting models, where the server was started for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from serving import store
from serving.errors import ApiError, public_message
from serving.ollama.schemas import CopyRequest, DeleteRequest
from serving.state import State, state, takes
from serving.wire import read

router = APIRouter(tags=["Ollama"])


@router.post("/api/copy", openapi_extra=takes(CopyRequest))
async def copy(request: Request) -> Response:
    """Copies a model to a name that none has."""
    server = _writable(request)
    asked = await read(CopyRequest, request)
    artifact = server.registry.find(asked.source or "")
    name, _, tag = (asked.destination or "").partition(":")
    if tag.casefold() not in ("", "latest") or not store.is_name(name):
        raise ApiError(400, f"destination {name[:64]!a} is invalid")
    source = artifact.manifest.folder
    await _on_disk(server, store.copy_model, source, source.with_name(name))
    return Response()


@router.delete("/api/delete", openapi_extra=takes(DeleteRequest))
async def delete(request: Request) -> Response:
    """Deletes a model; its running answers end well."""
    server = _writable(request)
    asked = await read(DeleteRequest, request)
    folder = server.registry.folder(asked.model or asked.name or "")
    await _on_disk(server, store.delete_model, folder)
    await server.registry.unload(folder.name)
    return Response()


def _writable(request: Request) -> State:
    server = state(request)
    if not server.settings.writable:
        raise ApiError(
            403, "copying and deleting models is off; start the server with serve --writable"
        )
    return server


async def _on_disk(server: State, work: Callable[..., None], *paths: Path) -> None:
    try:
        await asyncio.to_thread(work, *paths)
    except FileExistsError as error:
        raise ApiError(400, f"{error}; delete it first, or take another name") from error
    except (OSError, ValueError) as error:
        raise ApiError(500, public_message(error, server.settings.models)) from error
