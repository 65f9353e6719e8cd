"""What all routes share, and how they are described."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from serving.artifact import Artifact
from serving.errors import ApiError, unsupported
from serving.metrics import Metrics
from serving.registry import Registry
from serving.settings import Settings
from serving.wire import Wire

REFS = "#/components/schemas/{model}"


@dataclass(frozen=True)
class State:
    """The server's parts; ``request.app.state.server`` has them."""

    settings: Settings
    registry: Registry
    metrics: Metrics
    pictures: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    large_bodies: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    # A schema that takes long holds up other schemas alone.
    schemas: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "schemas"))


def state(request: Request) -> State:
    return request.app.state.server


def takes(*kinds: type[Wire], **others: Any) -> dict[str, Any]:
    """``openapi_extra`` of a route that reads its body itself."""
    schemas = [{"$ref": REFS.format(model=kind.__name__)} for kind in kinds]
    content: dict[str, Any] = {"application/json": {"schema": schemas[0]}} | others
    return {"requestBody": {"required": True, "content": content}}


def model_for(request: Request, name: str | None, capability: str, what: str) -> Artifact:
    """The model that a request names.

    Raises:
        ApiError: 400 where it names none, or one that cannot do what is asked; 404 where there is
            none; 500 where it is damaged.
    """
    if not name:
        raise ApiError(400, "model is required")
    artifact = state(request).registry.find(name)
    need(artifact, name, capability, what)
    return artifact


def need(artifact: Artifact, name: str, capability: str, what: str) -> None:
    """Raises ApiError 400 for a model that cannot do what is asked."""
    if capability not in artifact.capabilities:
        raise unsupported(name, what)
