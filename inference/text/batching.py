"""Many callers, one model: requests join a running batch between two decode steps."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from inference.text.decode_loop import DecodeLoop, Generation
from inference.text.generate import TextGenerator
from inference.text.grammar import Grammar
from inference.text.options import SamplingOptions
from inference.text.request import Request

_log = logging.getLogger(__name__)


class QueueFull(RuntimeError):
    """The queue is full; ask again later."""


class Closed(RuntimeError):
    """The batcher was closed and takes no more requests."""


class Batcher:
    """Runs one :class:`~inference.text.generate.TextGenerator` for many callers.

    A thread of its own has the engine. A request takes a free slot between two steps, first come
    first served, and its tokens do not depend on the others. The thread sleeps while nothing runs.

    Source: G.-I. Yu et al., Orca: a distributed serving system for transformer-based generative
    models, 2022 (batching by iteration).

    Args:
        generator: what generates; nobody else may use it meanwhile.
        max_queue: requests that may wait for a slot.
        wake: called from the thread, at most once a step, with the requests that have news.
        reuse: prefill of a prompt only what no free slot's cache holds already: the next turn of a
            conversation begins with the last one.

    Raises:
        ValueError: ``max_queue`` below 1, or ``reuse`` of a cache that cannot be extended.

    Example::

        batcher = Batcher(TextGenerator.load("models/mini_gpt", slots=32))
        requests = [batcher.submit("the cat", SamplingOptions(seed=n)) for n in range(200)]
        texts = [request.result().text for request in requests]
    """

    def __init__(
        self,
        generator: TextGenerator,
        max_queue: int = 512,
        wake: Callable[[Sequence[Request]], None] | None = None,
        reuse: bool = False,
    ) -> None:
        if max_queue < 1:
            raise ValueError(f"max_queue must be at least 1, got {max_queue}")
        if reuse and not generator.engine.can_extend:
            raise ValueError("reuse needs a cache that can be extended, which an ONNX file has not")
        self.generator = generator
        self.max_queue = max_queue
        self.wake = wake
        self._loop = DecodeLoop(generator.engine, reuse=reuse)
        self._requests: dict[Generation, Request] = {}
        self._new: list[Request] = []
        self._cancelled: list[Request] = []
        self._calls: list[tuple[Callable[[], Any], Future[Any]]] = []
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    @property
    def slots(self) -> int:
        """Requests that can have one at once."""
        return len(self.generator.engine.slots)

    @property
    def active(self) -> int:
        """Requests that have a slot."""
        return len(self._loop.active)

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return len(self._loop.waiting) + len(self._new)

    def submit(
        self,
        prompt: str | Sequence[int],
        options: SamplingOptions,
        truncate: bool = False,
        grammar: Grammar | None = None,
    ) -> Request:
        """Puts a request into the queue; a schema that was compiled before brings its grammar.

        Raises:
            ValueError: as :meth:`~inference.text.generate.TextGenerator.begin`.
            QueueFull: ``max_queue`` requests wait already.
            Closed: after :meth:`close`.
        """
        begun = self.generator.begin(prompt, options, truncate, grammar=grammar)
        request = Request(begun, self._cancel)
        with self._changed:
            if self._deadline is not None:
                raise Closed("the model is being unloaded")
            if self.waiting - self._free_slots() >= self.max_queue:
                raise QueueFull(f"{self.max_queue} requests wait already")
            self._new.append(request)
            self._changed.notify()
        return request

    def call(self, function: Callable[[], Any]) -> "Future[Any]":
        """Calls ``function`` in the thread between two steps, when nothing else uses the device.

        Raises:
            Closed: after :meth:`close`.
        """
        future: Future[Any] = Future()
        with self._changed:
            if self._deadline is not None:
                raise Closed("the model is being unloaded")
            self._calls.append((function, future))
            self._changed.notify()
        return future

    def close(self, grace: float = 0.0) -> None:
        """Takes no more requests, ends the thread after ``grace`` seconds for those underway."""
        with self._changed:
            self._deadline = time.monotonic() + grace
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _free_slots(self) -> int:
        return self.slots - self.active

    def _cancel(self, request: Request) -> None:
        with self._changed:
            self._cancelled.append(request)
            self._changed.notify()

    def _run(self) -> None:
        broken: Exception | None = None
        try:
            self.generator.engine.warm_up()
        except Exception as error:  # a compiler can fail, or the GPU's memory be full
            _log.exception("the model could not be made ready")
            broken = error
        while self._next_commands():
            if broken is not None:
                self._fail(broken)
                continue
            try:
                news = list(self._loop.step())
            except Exception as error:
                # What is in the cache is in doubt, so all requests end; the next ones start again.
                _log.exception("the decode step failed")
                self._fail(error)
            else:
                self._notify(news)
        self._loop.clear()
        self._notify([(generation, "") for generation in list(self._requests)])
        for _, future in self._calls:
            future.cancel()

    def _next_commands(self) -> bool:
        """Waits for something to do and begins it; false when all is over."""
        loop = self._loop
        with self._changed:
            commands = (self._new, self._cancelled, self._calls)
            while not (any(commands) or loop.busy or self._deadline is not None):
                self._changed.wait()
            new, self._new = self._new, []
            cancelled, self._cancelled = self._cancelled, []
            calls, self._calls = self._calls, []
            deadline = self._deadline
        for request in new:
            self._requests[request.generation] = request
            loop.add(request.generation)
        for request in cancelled:
            loop.drop(request.generation)
        self._notify([(r.generation, "") for r in cancelled if r.generation in self._requests])
        for function, future in calls:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except Exception as error:
                    future.set_exception(error)
        if deadline is None:
            return True
        return loop.busy and time.monotonic() < deadline

    def _notify(self, news: Sequence[tuple[Generation, str]]) -> None:
        """Hands pieces to their requests and wakes whoever waits for them."""
        touched: dict[Request, None] = {}
        for generation, piece in news:
            request = self._requests.get(generation)
            if request is None:
                continue
            request.hand_out()
            if generation.reason is not None:
                request.error = request.error or generation.error
                del self._requests[generation]
                request.finish()
            if piece or generation.reason is not None:
                touched[request] = None
        if touched and self.wake is not None:
            try:
                self.wake(list(touched))
            except Exception:
                _log.exception("new text could not be announced")

    def _fail(self, error: Exception) -> None:
        for request in self._requests.values():
            request.error = error
        failed = list(self._requests)
        self._loop.clear()
        self._notify([(generation, "") for generation in failed])
