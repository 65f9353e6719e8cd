"""Answers that are sent as they are made, and clients that go away meanwhile."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.errors import ApiError
from serving.refusals import refusal

T = TypeVar("T")


class Stream(Response):
    """Sends chunks as they come. A client that goes away, or is given up, ends them.

    An error before the first chunk becomes an ordinary error answer; later ones are the
    last chunk, by ``on_error``.

    Args:
        chunks: is closed in every case, so its ``finally`` can tidy up.
        media_type: of the whole.
        on_error: makes a chunk of an error.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        media_type: str,
        on_error: Callable[[ApiError], bytes],
    ) -> None:
        super().__init__(status_code=200, media_type=media_type)
        # The length is not known; the server sends it in chunks.
        self.raw_headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        self._chunks = chunks
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.ensure_future(self._send_all(scope, receive, send))
        gone = asyncio.ensure_future(disconnect(receive))
        gone.add_done_callback(lambda _: work.cancel())
        try:
            await work
        except asyncio.CancelledError:
            if not gone.done():  # it is the server that ends
                raise
        finally:
            gone.cancel()
            await self._chunks.aclose()

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
                await refusal(scope["path"], error)(scope, receive, send)
                return
            await self._send(send, self._on_error(error), more=True)
        if not started:
            await self._start(send)
        await self._send(send, b"", more=False)

    async def _start(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

    async def _send(self, send: Send, body: bytes, more: bool) -> None:
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def made(large: bool, make: Callable[..., T], *arguments: object) -> T:
    """What ``make`` returns; what is large is made in a thread, so that the event loop is free."""
    return await asyncio.to_thread(make, *arguments) if large else make(*arguments)


async def disconnect(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(receive: Receive, work: Awaitable[T], limit: float) -> T:
    """The result of ``work``, which is cancelled where the client goes away.

    Raises:
        ApiError: 499, which nobody is left to read; 503 after ``limit`` seconds.
    """
    gone = asyncio.ensure_future(disconnect(receive))
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({gone, task}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ApiError(499, "request canceled")
        raise ApiError(503, f"the answer took longer than {limit:.0f} s")
    finally:
        for each in (gone, task):
            each.cancel()
        await asyncio.gather(gone, task, return_exceptions=True)
