"""Who may ask, and how large a request may be; the outermost layer of the server."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import socket
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import ApiError
from serving.metrics import Metrics
from serving.settings import Settings

_log = logging.getLogger(__name__)
# They say nothing of the models, and a page cannot bring a key before it was loaded.
_OPEN = ("/healthz", "/ui")
_LOCAL_NAMES = ("localhost", "local", "internal")
_CORS = (
    ("Access-Control-Allow-Methods", "GET, POST, HEAD, OPTIONS"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept, User-Agent"),
    ("Access-Control-Max-Age", "600"),
)


class Security:
    """Checks Host, Origin and key, bounds the body in size and time, counts and logs.

    - On a loopback address a Host header that is not of this machine is refused, as Ollama does:
      a web page whose name was made to point here (DNS rebinding) does not get in.
    - A request that a page of another machine made a browser send (Origin) is refused.
    - Keys are compared in constant time.
    - The log has method, route, status and duration; never a body, a query or an unknown path.

    Args:
        app: what is guarded.
        settings: the server's.
        metrics: are told of every answer.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._keys = [key.encode() for key in settings.keys]
        self._hosts = {"", "localhost", socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        headers = Headers(scope=scope)
        origin = headers.get("origin") if self._foreign(headers) is None else None

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answer = MutableHeaders(raw=message.setdefault("headers", []))
                answer["X-Content-Type-Options"] = "nosniff"
                if origin:
                    answer["Access-Control-Allow-Origin"] = origin
                    answer.append("Vary", "Origin")
                message["headers"] = answer.raw
            await send(message)

        self._metrics.in_flight += 1
        try:
            refused = self._refuse(scope, headers)
            if refused:
                await refused(scope, receive, counted)
            else:
                await self._app(scope, self._bounded(receive, headers), counted)
        finally:
            self._metrics.in_flight -= 1
            route = getattr(scope.get("route"), "path", "-")
            self._metrics.request(scope["method"], route, status)
            took = (time.perf_counter() - began) * 1e3
            _log.info("%s %s %d %.1f ms", scope["method"], route, status, took)

    def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        if self._settings.loopback and not self._local(headers.get("host", "")):
            return PlainTextResponse("the Host header does not name this machine", 403)
        if foreign := self._foreign(headers):
            return PlainTextResponse(f"requests from pages of {foreign} are refused", 403)
        if scope["method"] == "OPTIONS" and "origin" in headers:
            return Response(status_code=204, headers=dict(_CORS))
        if self._keys and not self._open(scope["path"]) and not self._known(headers):
            return JSONResponse(
                {"error": "unauthorized"}, 401, headers={"WWW-Authenticate": "Bearer"}
            )
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._settings.max_body:
            return JSONResponse({"error": self._too_large()}, 413, headers={"Connection": "close"})
        return None

    def _open(self, path: str) -> bool:
        return any(path == name or path.startswith(f"{name}/") for name in _OPEN)

    def _known(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        token = given.strip().encode("utf-8", "replace")
        # All of them are compared, so that the time does not tell which was near.
        matches = [hmac.compare_digest(token, key) for key in self._keys]
        return scheme.lower() == "bearer" and any(matches)

    def _local(self, host: str) -> bool:
        name = _host_name(host)
        if name is None:
            return False
        if name in self._hosts or name.rpartition(".")[2] in _LOCAL_NAMES:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or address.is_private or address.is_unspecified

    def _foreign(self, headers: Headers) -> str | None:
        """The host of a page elsewhere that sent this, None for everyone else."""
        origin = headers.get("origin")
        if origin is None:
            return None
        try:
            parts = urlsplit(origin)
        except ValueError:
            parts = urlsplit("")
        if parts.netloc and parts.scheme in ("http", "https"):
            if parts.netloc.lower() == headers.get("host", "").lower():
                return None
            if _host_name(parts.netloc) in ("localhost", "127.0.0.1", "::1", "0.0.0.0"):
                return None
        return "another machine" if len(origin) > 200 else ascii(origin)

    def _bounded(self, receive: Receive, headers: Headers) -> Receive:
        """``receive`` that gives up on a body that is too large or too slow."""
        settings = self._settings
        size, whole = 0, False
        deadline = time.monotonic() + settings.body_seconds

        async def bounded() -> Message:
            nonlocal size, whole
            if whole:
                return await receive()
            try:
                left = max(0.0, deadline - time.monotonic())
                message = await asyncio.wait_for(receive(), left)
            except asyncio.TimeoutError as error:
                raise ApiError(408, "the body of the request did not arrive in time") from error
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > settings.max_body:
                raise ApiError(413, self._too_large())
            return message

        return bounded

    def _too_large(self) -> str:
        return f"the request is larger than {self._settings.max_body:,} bytes"


def _host_name(host: str) -> str | None:
    """``localhost`` of ``localhost:11434``, in lower case; None for what is no host."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".").lower()
    except ValueError:
        return None
