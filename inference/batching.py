"""Many callers, one model: requests join a running batch between two decode steps."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from inference.decode_loop import DecodeLoop, Generation
from inference.generate import TextGenerator
from inference.sampling import SamplingOptions

_log = logging.getLogger(__name__)


class QueueFull(RuntimeError):
    """The waiting line has no place left; ask again later."""


class Closed(RuntimeError):
    """The batcher was closed and takes no more requests."""


class Request:
    """One text that was asked for; all of it may be used from any thread.

    ``generation`` has the tokens, the text and the reason of its end, ``done`` says whether it is
    over, and ``error`` holds what went wrong where it did not end by itself.
    """

    def __init__(self, generation: Generation, batcher: "Batcher") -> None:
        self.generation = generation
        self.error: Exception | None = None
        self._batcher = batcher
        self._submitted_ns = time.perf_counter_ns()
        self._pieces: deque[str] = deque()
        self._finished = threading.Event()

    @property
    def done(self) -> bool:
        return self._finished.is_set()

    def take(self) -> str:
        """The text that came since the last call, perhaps none; never waits.

        Who asks seldom gets longer pieces, and nobody waits for him.
        """
        pieces = []
        while self._pieces:
            pieces.append(self._pieces.popleft())
        return "".join(pieces)

    def cancel(self) -> None:
        """Ends the text; its slot is free within one step."""
        self._batcher._cancel(self)

    def result(self, timeout: float | None = None) -> Generation:
        """Waits for the end of the text.

        Raises:
            TimeoutError: it takes longer than ``timeout`` seconds.
            RuntimeError: the engine failed.
        """
        if not self._finished.wait(timeout):
            raise TimeoutError(f"the text was not done after {timeout} s")
        if self.error is not None:
            raise RuntimeError(f"the text could not be generated: {self.error}") from self.error
        return self.generation

    @property
    def queued_ns(self) -> int:
        """Nanoseconds until a slot was free."""
        return max(0, self.generation.began_ns - self._submitted_ns)

    @property
    def prompt_ns(self) -> int:
        """Nanoseconds from the slot to the first token."""
        return max(0, self.generation.first_ns - self.generation.began_ns)

    @property
    def eval_ns(self) -> int:
        """Nanoseconds from the first token to the last."""
        return self.generation.last_ns - self.generation.first_ns


class Batcher:
    """Runs one :class:`~inference.generate.TextGenerator` for many callers.

    A thread of its own has the engine. A request takes a free slot between two steps, first come
    first served, and its tokens do not depend on the others. The thread sleeps while nothing runs.

    Source: G.-I. Yu et al., Orca: a distributed serving system for transformer-based generative
    models, 2022 (batching by iteration).

    Args:
        generator: what generates; nobody else may use it meanwhile.
        max_queue: requests that may wait for a slot.
        wake: called from the thread, at most once a step, with the requests that have news.

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
    ) -> None:
        if max_queue < 1:
            raise ValueError(f"max_queue must be at least 1, got {max_queue}")
        self.generator = generator
        self.max_queue = max_queue
        self.wake = wake
        self._loop = DecodeLoop(generator.engine)
        self._requests: dict[Generation, Request] = {}
        self._new: list[Request] = []
        self._cancelled: list[Request] = []
        self._calls: list[tuple[Callable[[], Any], Future[Any]]] = []
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    @property
    def active(self) -> int:
        """Texts that have a slot."""
        return len(self._loop.active)

    @property
    def waiting(self) -> int:
        """Texts that wait for one."""
        return len(self._loop.waiting) + len(self._new)

    def submit(
        self, prompt: str | Sequence[int], options: SamplingOptions, truncate: bool = False
    ) -> Request:
        """Puts a text into the line.

        Raises:
            ValueError: as :meth:`~inference.generate.TextGenerator.begin`.
            QueueFull: ``max_queue`` texts wait already.
            Closed: after :meth:`close`.
        """
        request = Request(self.generator.begin(prompt, options, truncate), self)
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
        """Takes no more requests, gives those underway ``grace`` seconds, and ends the thread."""
        with self._changed:
            self._deadline = time.monotonic() + grace
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _free_slots(self) -> int:
        return self.generator.engine.slots - self.active

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
        while self._next_orders():
            if broken is not None:
                self._fail(broken)
                continue
            try:
                news = list(self._loop.turn())
            except Exception as error:
                # What the engine holds of the texts is in doubt, so all of them end; the next
                # requests begin anew.
                _log.exception("the decode step failed")
                self._fail(error)
            else:
                self._tell(news)
        self._loop.clear()
        self._tell([(text, "") for text in list(self._requests)])
        for _, future in self._calls:
            future.cancel()

    def _next_orders(self) -> bool:
        """Waits for something to do and takes it up; false when all is over."""
        loop = self._loop
        with self._changed:
            orders = (self._new, self._cancelled, self._calls)
            while not (any(orders) or loop.busy or self._deadline is not None):
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
        self._tell([(r.generation, "") for r in cancelled if r.generation in self._requests])
        for function, future in calls:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except Exception as error:
                    future.set_exception(error)
        if deadline is None:
            return True
        return loop.busy and time.monotonic() < deadline

    def _tell(self, news: Sequence[tuple[Generation, str]]) -> None:
        """Hands pieces to their requests and wakes who waits for them."""
        touched: dict[Request, None] = {}
        for text, piece in news:
            request = self._requests.get(text)
            if request is None:
                continue
            if piece:
                request._pieces.append(piece)
            if text.reason is not None:
                del self._requests[text]
                request._finished.set()
            if piece or text.reason is not None:
                touched[request] = None
        if touched and self.wake is not None:
            try:
                self.wake(list(touched))
            except Exception:
                _log.exception("nobody could be told of new text")

    def _fail(self, error: Exception) -> None:
        for request in self._requests.values():
            request.error = error
        texts = list(self._requests)
        self._loop.clear()
        self._tell([(text, "") for text in texts])
