"""Wakes the coroutines that wait for text of the batcher's thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference.text.request import Request

PAUSE = 4  # times a delivery; the steps then have four fifths of the interpreter
LONGEST = 0.025  # seconds of a pause; requests that come meanwhile can make a delivery long


class Notifier:
    """Wakes the coroutine of each request that has news.

    The event loop shares the interpreter with the batcher's thread. So there is one delivery at a
    time, and after it a pause of several times what it took: under load the pieces of text get
    longer instead of the steps slower. No pause is one that a reader would see, and a lone reader
    gets every token at once. The end of a request does not wait for a pause: it is delivered once
    in any case, and where all of a batch end together nothing else is left to do.

    Args:
        loop: where the coroutines run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: dict[Request, asyncio.Event] = {}
        self._lock = threading.Lock()
        self._news: dict[Request, None] = {}
        self._underway = False
        self._began = 0.0

    def watch(self, *requests: Request) -> asyncio.Event:
        """An event that is set when one of these has news; it is set at first."""
        event = asyncio.Event()
        event.set()
        self._events.update(dict.fromkeys(requests, event))
        return event

    def unwatch(self, *requests: Request) -> None:
        for request in requests:
            self._events.pop(request, None)

    def wake(self, requests: Sequence[Request]) -> None:
        """Called from the batcher's thread."""
        ended = [request for request in requests if request.done]
        with self._lock:
            resting, self._underway = self._underway, True
            self._news.update(dict.fromkeys(requests))
            if resting:
                for request in ended:
                    del self._news[request]
        if not resting:
            self._loop.call_soon_threadsafe(self._deliver)
        elif ended:
            self._loop.call_soon_threadsafe(partial(self._set, ended))

    def _deliver(self) -> None:
        with self._lock:
            if not self._news:
                self._underway = False
                return
            news, self._news = self._news, {}
        self._began = time.perf_counter()
        self._set(news)
        # Behind the coroutines that were woken.
        self._loop.call_soon(self._rest)

    def _set(self, requests: Iterable[Request]) -> None:
        for request in requests:
            if event := self._events.get(request):
                event.set()

    def _rest(self) -> None:
        # Also where nothing came meanwhile: perhaps because the steps had to wait for this.
        took = time.perf_counter() - self._began
        self._loop.call_later(min(PAUSE * took, LONGEST), self._deliver)
