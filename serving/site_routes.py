"""What a server says of itself: health, metrics, and a page of its endpoints."""

import asyncio
from html import escape

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from serving.artifact import Artifact
from serving.errors import ApiError
from serving.state import State, state

router = APIRouter(tags=["Server"])
_PROBE = 0.5  # seconds that a probe of a model waits; Kubernetes' own default limit is 1 s
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>gpu-learning</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
td{{padding:.2rem 1rem .2rem 0;vertical-align:top}}code{{white-space:nowrap}}</style>
<h1>gpu-learning serve</h1><p>All of it for programs: <a href="openapi.json">openapi.json</a>.</p>
<table>{rows}</table></html>"""


@router.get("/healthz")
async def healthz(request: Request) -> Response:
    """Whether the server takes requests: 200, or 503 while it shuts down."""
    closing = state(request).registry.closing
    return JSONResponse({"status": "closing" if closing else "ok"}, 503 if closing else 200)


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Whether a request would be taken: 200, or 503 while it shuts down or has no models folder."""
    registry = state(request).registry
    try:
        registry.artifacts()
    except ApiError as error:
        return JSONResponse({"status": error.text}, 503)
    return JSONResponse(
        {"status": "closing" if registry.closing else "ok"}, 503 if registry.closing else 200
    )


@router.get("/readyz/{model}")
async def model_readyz(request: Request, model: str) -> Response:
    """Whether a model answers at once: 200, or 503 while it is loaded, which this begins."""
    server = state(request)
    artifact = server.registry.find(model)
    try:
        await asyncio.wait_for(_warm(server, artifact), _PROBE)
    except asyncio.TimeoutError:
        return JSONResponse({"status": "loading"}, 503)
    return JSONResponse({"status": "ok"})


async def _warm(server: State, artifact: Artifact) -> None:
    """Returns when the model is in memory and its first step is compiled, if it is at all."""
    registry = server.registry
    kept = [one.keep_alive for one in registry.running() if one.artifact.name == artifact.name]
    async with registry.use(artifact, kept[0] if kept else None) as loaded:
        if loaded.batcher:
            await asyncio.wrap_future(loaded.call(lambda: None))


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    server = state(request)
    text = server.metrics.text(server.registry.running())
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The endpoints as a plain page; FastAPI's own would be loaded from other machines."""
    rows = [
        f"<tr><td><code>{method.upper()} {escape(path)}</code><td>{escape(entry['description'])}"
        for path, methods in request.app.openapi()["paths"].items()
        for method, entry in methods.items()
    ]
    return HTMLResponse(_PAGE.format(rows="".join(rows)))
