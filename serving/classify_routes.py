"""Digits from pictures: JSON with base64, or an upload."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from serving.artifact import CLASSIFY
from serving.durations import seconds
from serving.errors import ApiError
from serving.ollama_schemas import ClassifyRequest
from serving.state import State, need, state, takes
from serving.streaming import unless_gone
from serving.wire import read, timestamp

if TYPE_CHECKING:
    from inference.classifier import Classifier, Prediction

router = APIRouter(tags=["Pictures"])
_FORM = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["model", "images"],
            "properties": {
                "model": {"type": "string"},
                "images": {"type": "array", "items": {"type": "string", "format": "binary"}},
            },
        }
    }
}


@router.post("/api/classify", openapi_extra=takes(ClassifyRequest, **_FORM))
async def classify(request: Request) -> Response:
    """Says which digit each picture shows; one that cannot be read has an error in its place."""
    began = time.perf_counter_ns()
    server = state(request)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        name, images, keep_alive = await _form(request, server)
    else:
        asked = read(ClassifyRequest, await request.body())
        name, keep_alive = asked.model or "", seconds(asked.keep_alive)
        _check_count(len(asked.images), server)
        images = [_decoded(image) for image in asked.images]
    if not name:
        raise ApiError(400, "model is required")
    artifact = server.registry.find(name)
    need(artifact, name, CLASSIFY, "classify")
    results = await unless_gone(request.receive, _run(server, artifact, images, keep_alive))
    return JSONResponse(
        {
            "model": name,
            "created_at": timestamp(),
            "results": results,
            "total_duration": time.perf_counter_ns() - began,
        }
    )


async def _run(
    server: State, artifact: Any, images: list[bytes | ApiError], keep_alive: float | None
) -> list[dict[str, Any]]:
    largest = server.settings.max_image
    async with server.registry.use(artifact, keep_alive) as loaded:
        assert loaded.classifier is not None
        # One after the other: a picture may need 200 MB while it is unpacked.
        async with server.pictures:
            return await asyncio.to_thread(_classify, loaded.classifier, images, largest)


def _classify(
    classifier: Classifier, images: list[bytes | ApiError], largest: int
) -> list[dict[str, Any]]:
    checked: list[bytes | ApiError] = [
        ApiError(400, f"the picture has more than {largest:,} bytes")
        if isinstance(image, bytes) and len(image) > largest
        else image
        for image in images
    ]
    good = [image for image in checked if isinstance(image, bytes)]
    answers = iter(classifier.predict_each(good))
    labels = classifier.manifest.labels or ()
    results = []
    for image in checked:
        answer = image if isinstance(image, ApiError) else next(answers)
        if isinstance(answer, Exception):
            results.append({"error": str(answer)})
        else:
            results.append(_fields(answer, labels))
    return results


def _fields(answer: Prediction, labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "label": answer.label,
        "digit": int(answer.label) if answer.label.isdecimal() else None,
        "confidence": round(answer.confidence, 6),
        "probabilities": {
            label: round(share, 6) for label, share in zip(labels, answer.all_probs, strict=True)
        },
    }


def _check_count(count: int, server: State) -> None:
    if count > server.settings.max_images:
        raise ApiError(400, f"{count} images are too many; {server.settings.max_images} are taken")
    if not count:
        raise ApiError(400, "images is required")


def _decoded(image: str) -> bytes | ApiError:
    try:
        # A page sends what canvas.toDataURL gives.
        content = image.partition(",")[2] if image.startswith("data:") else image
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        return ApiError(400, "the picture is not base64")


async def _form(
    request: Request, server: State
) -> tuple[str, list[bytes | ApiError], float | None]:
    limit = server.settings.max_images
    try:
        async with request.form(max_files=limit, max_fields=8) as form:
            name, keep_alive = form.get("model"), form.get("keep_alive")
            files = [item for item in form.getlist("images") if isinstance(item, UploadFile)]
            _check_count(len(files), server)
            images: list[bytes | ApiError] = [await file.read() for file in files]
    except ApiError:
        raise
    except OSError as error:  # large uploads are kept in files while they come
        raise ApiError(507, f"the upload cannot be kept: {error.strerror}") from error
    except (HTTPException, MultiPartException) as error:
        what = error.detail if isinstance(error, HTTPException) else error.message
        raise ApiError(400, f"the form cannot be read: {what}") from error
    duration = seconds(keep_alive) if isinstance(keep_alive, str) else None
    return (name if isinstance(name, str) else ""), images, duration
