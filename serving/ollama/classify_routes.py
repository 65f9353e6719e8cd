"""Labels of images: JSON with base64, or an upload."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from serving.artifact import CLASSIFY
from serving.errors import ApiError
from serving.forms import read_form
from serving.ollama.durations import seconds
from serving.ollama.schemas import ClassifyRequest
from serving.state import State, need, state, takes
from serving.streaming import unless_gone
from serving.wire import read, timestamp

if TYPE_CHECKING:
    import numpy as np

    from inference.images.classifier import Classifier, Prediction

router = APIRouter(tags=["Pictures"])
_URL_SAFE, _SPACE = bytes.maketrans(b"-_", b"+/"), b" \t\r\n"
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
    """Classifies each image; one that cannot be read has an error instead."""
    began = time.perf_counter_ns()
    server = state(request)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        name, images, keep_alive = await _form(request, server)
        seen = False
    else:
        asked = await read(ClassifyRequest, request)
        name, keep_alive = asked.model or "", seconds(asked.keep_alive)
        seen = asked.seen
        _check_count(len(asked.images), server)
        images = [await asyncio.to_thread(_decoded, image) for image in asked.images]
    if not name:
        raise ApiError(400, "model is required")
    artifact = server.registry.find(name)
    need(artifact, name, CLASSIFY, "classify")
    work = _run(server, artifact, images, keep_alive, seen)
    results = await unless_gone(request.receive, work, server.settings.answer_seconds)
    return JSONResponse(
        {
            "model": name,
            "created_at": timestamp(),
            "results": results,
            "total_duration": time.perf_counter_ns() - began,
        }
    )


async def _run(
    server: State,
    artifact: Any,
    images: list[bytes | ApiError],
    keep_alive: float | None,
    seen: bool,
) -> list[dict[str, Any]]:
    largest = server.settings.max_image
    async with server.registry.use(artifact, keep_alive) as loaded:
        assert loaded.classifier is not None
        results = []
        # One after the other, across all requests: an image may need 200 MB while it is
        # unpacked. Whoever goes away, or ends the server, does not wait for the rest.
        for image in images:
            asked = loaded.classifier, image, largest, seen
            results.append(await _in_turn(server.pictures, _classify, *asked))
        return results


async def _in_turn(turns: asyncio.Semaphore, work: Callable[..., Any], *arguments: Any) -> Any:
    """What a thread computes, which keeps its turn until it is done, even if nobody waits."""
    await turns.acquire()
    turn = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    turn.add_done_callback(lambda _: turns.release())
    return await asyncio.shield(turn)


def _classify(
    classifier: Classifier, image: bytes | ApiError, largest: int, seen: bool
) -> dict[str, Any]:
    if isinstance(image, ApiError):
        return {"error": image.text}
    if len(image) > largest:
        return {"error": f"the picture has more than {largest:,} bytes"}
    try:
        (answer,) = classifier.predict_each([image])
    except ValueError as error:  # the model does not do what its manifest says
        return {"error": str(error)}
    if isinstance(answer, Exception):
        return {"error": str(answer)}
    fields = _fields(answer, classifier.manifest.labels or ())
    return fields | {"seen": _png(classifier.seen(image))} if seen else fields


def _fields(answer: Prediction, labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "label": answer.label,
        "digit": int(answer.label) if answer.label.isdecimal() else None,
        "confidence": round(answer.confidence, 6),
        "probabilities": {
            label: round(share, 6) for label, share in zip(labels, answer.all_probs, strict=True)
        },
    }


def _png(pixels: np.ndarray) -> str:
    """Pixels (C, H, W) in [0, 1] as a data URL."""
    from PIL import Image

    bytes_ = (pixels * 255).round().astype("uint8").transpose(1, 2, 0)
    image = Image.fromarray(bytes_[..., 0] if bytes_.shape[2] == 1 else bytes_)
    file = io.BytesIO()
    image.save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _check_count(count: int, server: State) -> None:
    if count > server.settings.max_images:
        raise ApiError(400, f"{count} images are too many; {server.settings.max_images} are taken")
    if not count:
        raise ApiError(400, "images is required")


def _decoded(image: str) -> bytes | ApiError:
    """The bytes of base64 as programs write it: with line breaks, URL-safe, or without padding."""
    # A page sends what canvas.toDataURL returns.
    content = image.partition(",")[2] if image[:5].lower() == "data:" else image
    try:
        letters = content.encode("ascii").translate(_URL_SAFE, _SPACE).rstrip(b"=")
        return base64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        return ApiError(400, "the picture is not base64")


async def _form(
    request: Request, server: State
) -> tuple[str, list[bytes | ApiError], float | None]:
    kind, most = request.headers["content-type"], server.settings.max_images
    parts = await asyncio.to_thread(read_form, kind, await request.body(), most)
    images: list[bytes | ApiError] = [content for name, content in parts if name == "images"]
    _check_count(len(images), server)
    fields = {name: content for name, content in parts if name in ("model", "keep_alive")}
    given = {name: content[:1000].decode("utf-8", "replace") for name, content in fields.items()}
    return given.get("model", ""), images, seconds(given.get("keep_alive"))
