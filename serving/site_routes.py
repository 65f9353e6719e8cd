"""What a server says of itself: health, metrics, and a page of its endpoints."""

from html import escape

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from serving.state import state

router = APIRouter(tags=["Server"])
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
