"""Who may ask, and how large a request may be; the outermost layer of the server."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import socket
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import ApiError, busy
from serving.memory import settle
from serving.metrics import Metrics
from serving.origins import Origins, preflight
from serving.refusals import refusal
from serving.settings import Settings

_log = logging.getLogger(__name__)
# They say nothing of the models, and a page cannot bring a key before it was loaded.
_OPEN = ("/healthz", "/readyz", "/ui")
# Smaller bodies are taken even when large ones fill all the memory that there is for them.
_SMALL = 1 << 20
_REST = 1.0  # seconds after a large request
_LOCAL_NAMES = ("localhost", "local", "internal")


class Security:
    """Checks Host, Origin and key, bounds the body in size and time, counts and logs.

    - On a loopback address a Host header that is not of this machine is refused, as Ollama does:
      a web page whose name was made to point here (DNS rebinding) does not get in.
    - A request that a page of another machine made a browser send (Origin) is refused, unless the
      settings have its origin.
    - Keys are compared in constant time.
    - The log has method, route, status and duration; never a body, a query or an unknown path.

    Args:
        app: what is guarded.
        settings: the server's.
        metrics: counts every answer.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._loopback = settings.loopback
        self._keys = [key.encode() for key in settings.keys]
        self._hosts = {"", "localhost", socket.gethostname().lower()}
        self._origins = Origins(settings.origins)
        self._held = _Held()
        self._settling: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        headers = Headers(scope=scope)
        foreign = self._origins.refused(headers)
        origin = None if foreign else headers.get("origin")

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
        body = _Body(receive, self._settings, self._held)
        try:
            refused = self._refuse(scope, headers, foreign)
            if refused:
                await refused(scope, receive, counted)
            else:
                await self._app(scope, body.receive, counted)
        finally:
            self._held.bytes -= body.size
            if body.size > _SMALL:
                self._settle_soon()
            self._metrics.in_flight -= 1
            route = getattr(scope.get("route"), "path", "-")
            self._metrics.request(scope["method"], route, status)
            took = (time.perf_counter() - began) * 1e3
            _log.info("%s %s %d %.1f ms", scope["method"], route, status, took)

    def _settle_soon(self) -> None:
        """After the last of several large requests, when nothing refers to it any more."""
        if self._settling:
            self._settling.cancel()
        loop = asyncio.get_running_loop()
        self._settling = loop.call_later(_REST, loop.run_in_executor, None, settle)

    def _refuse(self, scope: Scope, headers: Headers, foreign: str | None) -> Response | None:
        path = scope["path"]
        if self._loopback and not self._local(headers.get("host", "")):
            return refusal(path, ApiError(403, "the Host header does not name this machine"))
        if foreign:
            text = f"requests from pages of {foreign} are refused; serve --origins allows more"
            return refusal(path, ApiError(403, text))
        if scope["method"] == "OPTIONS" and "origin" in headers:
            return Response(status_code=204, headers=preflight(headers))
        if self._keys and not self._open(path) and not self._known(headers):
            return refusal(path, ApiError(401, "unauthorized"), {"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._settings.max_body:
            error = ApiError(413, _too_large(self._settings))
            return refusal(path, error, {"Connection": "close"})
        return None

    def _open(self, path: str) -> bool:
        return path in _OPEN or path.startswith("/ui/")

    def _known(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        bearer = given.strip() if scheme.lower() == "bearer" else ""
        # Anthropic's clients have a header of their own.
        tokens = [
            text.encode("utf-8", "replace") for text in (bearer, headers.get("x-api-key", ""))
        ]
        # All of them are compared, so that the time does not tell which was near.
        matches = [hmac.compare_digest(token, key) for token in tokens for key in self._keys]
        return any(matches)

    def _local(self, host: str) -> bool:
        name = _host_name(host)
        if name is None:
            return False
        if name in self._hosts or name.rpartition(".")[2] in _LOCAL_NAMES:
            return True
        return _is_local_address(name)


@dataclass
class _Held:
    """Bytes of the bodies of all requests that are being answered."""

    bytes: int = 0


class _Body:
    """``receive`` that refuses a body that is too large or too slow; ``size`` in bytes."""

    def __init__(self, receive: Receive, settings: Settings, held: _Held) -> None:
        self._receive = receive
        self._settings = settings
        self._held = held
        self._whole = False
        self._deadline = time.monotonic() + settings.body_seconds
        self.size = 0

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()
        try:
            left = max(0.0, self._deadline - time.monotonic())
            if sys.version_info >= (3, 11):  # without a task, which takes longer than the body
                async with asyncio.timeout(left):
                    message = await self._receive()
            else:
                message = await asyncio.wait_for(self._receive(), left)
        except asyncio.TimeoutError as error:
            limit = self._settings.body_seconds
            raise ApiError(408, f"the body of the request took longer than {limit:g} s") from error
        size = len(message.get("body", b""))
        self.size += size
        self._held.bytes += size
        self._whole = not message.get("more_body", False)
        if self.size > self._settings.max_body:
            raise ApiError(413, _too_large(self._settings))
        if self.size > _SMALL and self._held.bytes > self._settings.max_bodies:
            raise busy()
        return message


def _too_large(settings: Settings) -> str:
    return f"the request is larger than {settings.max_body:,} bytes"


@lru_cache(maxsize=64)  # nearly all requests name the same
def _is_local_address(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


def _host_name(host: str) -> str | None:
    """``localhost`` of ``localhost:11434``, in lower case; None for what is no host."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".").lower()
    except ValueError:
        return None
