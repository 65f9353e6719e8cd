"""uvicorn's connection, with limits on what comes before the application sees a request."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.settings import Settings

_LATER = 5.0  # seconds by which the application is the first to refuse a slow body
_LINGER = 1.0  # seconds for a client to read why it is refused


class Connection(HttpToolsProtocol):
    """Bounds a request's head in size and time, and how long an answer may stay unread.

    - A head that is too large or has too many headers is answered with 431, one that does not
      arrive in time with 408; both end the connection. So do trailers and chunk extensions.
    - A body that follows its own answer is not read without end.
    - A stream to a client of HTTP/1.0 is not sent in chunks: it ends with the connection.
    - The connection ends when its client reads nothing of an answer for ``stall_seconds``.

    Args:
        settings: the server's.
        others: what uvicorn passes.
    """

    def __init__(self, *, settings: Settings, **others: Any) -> None:
        super().__init__(**others)
        self._settings = settings
        self._in_head = False
        self._head_size = 0
        self._pending = 0  # bytes that the parser holds and has not called back for
        self._refusal = (400, "Invalid HTTP request received.")
        self._done = False
        self._cycles: list[Any] = []  # requests whose answers are not complete
        self._arrival: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect(self._settings.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        self._read_on()
        super().connection_lost(exc)
        # uvicorn tells the last of several requests that were sent in one piece, alone.
        for cycle in self._underway():
            cycle.disconnected = True
            cycle.message_event.set()

    def shutdown(self) -> None:
        super().shutdown()
        # What is not wholly asked by now is not answered, unless an earlier answer is underway.
        if self._arrival and len(self._underway()) <= (not self._in_head):
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._done or self.transport.is_closing():
            return
        if self._arrival is None:
            self._expect(self._settings.head_seconds)
        self._pending += len(data)
        super().data_received(data)
        if self._pending > self._settings.max_head and not self._done:
            self._refuse(431, self._too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_size, self._pending = True, 0, 0
        self._expect(self._settings.head_seconds)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # trailers are dropped
            self._count(len(name) + len(value) + 4)
            super().on_header(name, value)
            if len(self.headers) > self._settings.max_headers:
                most = self._settings.max_headers
                raise self._refused(431, f"the request has more than {most} headers")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._expect(self._settings.body_seconds + _LATER)
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            # Its task has not begun; uvicorn makes cycles of no other class.
            self.cycle.__class__ = _UntilTheEnd
        self._cycles = [*self._underway(), self.cycle]

    def on_body(self, body: bytes) -> None:
        self._pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._pending = 0
        self._expect(None)
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this for everything that the parser refuses, ours included."""
        self._refuse(*self._refusal)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        self._read_on()
        super().resume_writing()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_reader()

    def _expect(self, seconds: float | None) -> None:
        """What the client sends next must be complete in ``seconds``; None expects nothing."""
        if self._arrival:
            self._arrival.cancel()
        self._arrival = self.loop.call_later(seconds, self._late) if seconds is not None else None

    def _late(self) -> None:
        if cycles := self._underway():
            cycles[-1].keep_alive = False  # its answer is the last
        elif self._in_head and not self._done:
            limit = self._settings.head_seconds
            self._refuse(408, f"the head of the request took longer than {limit:g} s")
        else:
            self.transport.close()

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._settings.max_head:
            raise self._refused(431, self._too_large())

    def _too_large(self) -> str:
        return f"the head of the request is larger than {self._settings.max_head:,} bytes"

    def _refused(self, status: int, text: str) -> ValueError:
        """Raised in a callback, it ends the parsing."""
        self._refusal = (status, text)
        return ValueError(text)

    def _refuse(self, status: int, text: str) -> None:
        self._done = True
        if self._underway():
            self.transport.close()
            return
        head = f"HTTP/1.1 {status} \r\nContent-Type: text/plain\r\nConnection: close\r\n"
        self.transport.write(f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode())
        # To close at once, while the client still sends, would take the answer from it.
        self.transport.write_eof()
        self._expect(_LINGER)

    def _underway(self) -> list[Any]:
        return [cycle for cycle in self._cycles if not cycle.response_complete]

    def _await_reader(self) -> None:
        self._read_on()
        if left := self.transport.get_write_buffer_size():
            self._stall = self.loop.call_later(self._settings.stall_seconds, self._stalled, left)

    def _read_on(self) -> None:
        if self._stall:
            self._stall.cancel()
            self._stall = None

    def _stalled(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._await_reader()
        else:
            self.transport.abort()


class _UntilTheEnd(RequestResponseCycle):
    """An answer to HTTP/1.0, which knows no chunks: the connection's end is that of the answer."""

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            named = {name.lower() for name, _ in message.get("headers", ())}
            if b"content-length" not in named:
                self.chunked_encoding = False
                self._open = True
        elif getattr(self, "_open", False):
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
