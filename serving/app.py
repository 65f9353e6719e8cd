"""The server's parts put together."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, request_response

from serving import page, site_routes, tokenize_routes
from serving.anthropic import routes as anthropic_routes
from serving.anthropic import schemas as anthropic_schemas
from serving.errors import ApiError
from serving.metrics import Metrics
from serving.notifier import Notifier
from serving.ollama import classify_routes, embed_routes, manage_routes, model_routes
from serving.ollama import routes as ollama_routes
from serving.ollama import schemas as ollama_schemas
from serving.openai import embedding_routes, responses_routes
from serving.openai import routes as openai_routes
from serving.openai import schemas as openai_schemas
from serving.refusals import refusal, unrouted
from serving.registry import Registry
from serving.security import Security
from serving.settings import Settings
from serving.state import REFS, State
from serving.wire import Wire

_SCHEMAS = (ollama_schemas, openai_schemas, anthropic_schemas, tokenize_routes)
_ROUTES = (
    ollama_routes,
    model_routes,
    embed_routes,
    manage_routes,
    openai_routes,
    embedding_routes,
    responses_routes,
    anthropic_routes,
    tokenize_routes,
    classify_routes,
    site_routes,
    page,
)


def make_app(settings: Settings) -> FastAPI:
    """The application; ``app.state.server`` is there once it was started."""
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        registry = Registry(settings, Notifier(asyncio.get_running_loop()))
        app.state.server = State(settings, registry, metrics)
        # The libraries take seconds; they are read while the first request is still to come.
        warm = asyncio.create_task(asyncio.to_thread(_import_libraries))
        yield
        await registry.close(0.0)
        await warm

    # Its pages for /docs load scripts from other machines; ours is in site_routes.
    app = FastAPI(
        title="gpu-learning",
        version=model_routes.OLLAMA_VERSION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    for routes in _ROUTES:
        # As if declared on the app itself: FastAPI looks for a request's route much longer among
        # the routers that it includes.
        app.router.routes += map(_direct, routes.router.routes)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _failure)
    app.add_middleware(Security, settings=settings, metrics=metrics)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _direct(route: BaseRoute) -> BaseRoute:
    """The route, called without FastAPI's dependencies where its endpoint has none.

    What takes the request and answers by itself needs nothing solved, which costs as much as
    reading its body.
    """
    if isinstance(route, APIRoute) and inspect.iscoroutinefunction(route.endpoint):
        signature = inspect.signature(route.endpoint, eval_str=True)
        kinds = [parameter.annotation for parameter in signature.parameters.values()]
        if kinds == [Request] and signature.return_annotation is Response:
            route.app = request_response(route.endpoint)
    return route


def _import_libraries() -> None:
    pass


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return refusal(request.scope["path"], error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, status = request.scope["path"], error.status_code
    if status in (404, 405):
        return unrouted(path, status, error.headers)
    return refusal(path, ApiError(status, str(error.detail)), error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    """The client left before its request was whole; nobody reads this."""
    return refusal(request.scope["path"], ApiError(499, "request canceled"))


async def _failure(request: Request, error: Exception) -> Response:
    # Starlette logs the traceback; the client gets none of it.
    return refusal(request.scope["path"], ApiError(500, "the server failed; its log has more"))


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for module in _SCHEMAS:
            for kind in vars(module).values():
                if isinstance(kind, type) and issubclass(kind, Wire) and kind is not Wire:
                    schema = kind.model_json_schema(ref_template=REFS)
                    schemas |= schema.pop("$defs", {})
                    schemas[kind.__name__] = schema
        app.openapi_schema = document
    return app.openapi_schema
