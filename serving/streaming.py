"""Answers that are sent as they are made, and clients that go away meanwhile."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.errors import ApiError

T = TypeVar("T")
_CHECKS = 4  # times that a slow reader is looked at before it is given up


class Stream(Response):
    """Sends chunks as they come. A client that goes away, or does not read, ends them.

    An error before the first chunk becomes an ordinary error answer; later ones are told by
    ``on_error`` as the last chunk.

    Args:
        chunks: is closed in every case, so its ``finally`` can tidy up.
        media_type: of the whole.
        on_error: makes a chunk of an error.
        refuse: makes an answer of an error that comes first.
        stall: seconds that a client may leave without reading.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        media_type: str,
        on_error: Callable[[ApiError], bytes],
        refuse: Callable[[ApiError], Response],
        stall: float,
    ) -> None:
        super().__init__(status_code=200, media_type=media_type)
        # The length is not known; the server sends it in chunks.
        self.raw_headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        self._chunks = chunks
        self._on_error = on_error
        self._refuse = refuse
        self._stall = stall
        self._sending_since: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(disconnect(receive))
        work = asyncio.ensure_future(self._send_all(scope, receive, send))
        try:
            while not work.done():
                await asyncio.wait(
                    {gone, work},
                    timeout=self._stall / _CHECKS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                since = self._sending_since
                if gone.done() or (since and time.monotonic() - since > self._stall):
                    break
        finally:
            for task in (gone, work):
                task.cancel()
            await asyncio.gather(gone, work, return_exceptions=True)
            await self._chunks.aclose()
        if not work.cancelled():
            work.result()

    async def _send_all(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        try:
            async for chunk in self._chunks:
                if not started:
                    await self._start(send)
                    started = True
                await self._send(send, chunk, more=True)
        except ApiError as error:
            if not started:
                await self._refuse(error)(scope, receive, send)
                return
            await self._send(send, self._on_error(error), more=True)
        if not started:
            await self._start(send)
        await self._send(send, b"", more=False)

    async def _start(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

    async def _send(self, send: Send, body: bytes, more: bool) -> None:
        self._sending_since = time.monotonic()
        await send({"type": "http.response.body", "body": body, "more_body": more})
        self._sending_since = None


async def disconnect(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """The result of ``work``, which is cancelled where the client goes away.

    Raises:
        ApiError: 499, which nobody is left to read.
    """
    gone = asyncio.ensure_future(disconnect(receive))
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({gone, task}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(499, "request canceled")
        return task.result()
    finally:
        for each in (gone, task):
            each.cancel()
        await asyncio.gather(gone, task, return_exceptions=True)
