"""uvicorn around the application: one socket, one process, an end in good order."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial

import uvicorn

from serving.app import make_app
from serving.memory import release_early
from serving.protocol import Connection
from serving.settings import Settings

# Seconds that the event loop keeps the interpreter while a batcher's thread waits for it; with
# Python's own 5 ms a decode step on a GPU would take several times as long.
SWITCH = 0.001


class Server(uvicorn.Server):
    """Serves until Ctrl-C or SIGTERM, lets running answers end for a while, then stops.

    Args:
        settings: how to serve.
        ready: called with the URL when requests are taken.
    """

    def __init__(self, settings: Settings, ready: Callable[[str], None]) -> None:
        self.settings = settings
        self.app = make_app(settings)
        self._ready = ready
        self._url = ""
        super().__init__(
            uvicorn.Config(
                self.app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nothing here asks who the client is
                http=partial(Connection, settings=settings),  # type: ignore[arg-type]
                ws="none",
                # What is left after the grace is ended by the registry, with a line that says so.
                timeout_graceful_shutdown=int(settings.grace_seconds) + 2,
            )
        )

    def serve_on(self, listener: socket.socket) -> None:
        """Blocks until the server was stopped, by a signal or by ``should_exit``."""
        host, port = listener.getsockname()[:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        release_early()
        before = {}
        switch = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        if threading.current_thread() is threading.main_thread():
            # uvicorn raises the signals that it took once more when it is done; all is done then.
            taken = (signal.SIGINT, signal.SIGTERM)
            before = {name: signal.signal(name, _nothing) for name in taken}
        try:
            self.run(sockets=[listener])
        finally:
            sys.setswitchinterval(switch)
            for name, handler in before.items():
                signal.signal(name, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready(self._url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        registry = self.app.state.server.registry
        closing = asyncio.create_task(registry.close(self.settings.grace_seconds))
        await super().shutdown(sockets)
        await closing


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections.

    Raises:
        ValueError: no port, another program has it, or the address is not this machine's.
    """
    if not 0 <= port <= 65535:
        raise ValueError(
            f"there is no port {port}; choose one from 1 to 65535, or 0 for a free one"
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ValueError(
            f"cannot listen on {host} port {port}: {error.strerror}; another server may run there "
            "(Ollama takes 11434), then choose another with --port"
        ) from error


def _nothing(number: int, frame: object) -> None:
    """Takes a signal."""
