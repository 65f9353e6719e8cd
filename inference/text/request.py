"""A request on its way through the batcher, as whoever submitted it sees it."""

import threading
import time
from collections.abc import Callable

from inference.text.decode_loop import Generation
from inference.text.scores import TokenScore


class Request:
    """A submitted request; all of it may be used from any thread.

    ``generation`` has the tokens, the text and the finish reason, ``done`` says whether it is
    over, and ``error`` holds what went wrong where it failed.
    """

    done = False

    def __init__(self, generation: Generation, cancel: Callable[["Request"], None]) -> None:
        self.generation = generation
        self.error: Exception | None = None
        self._cancel = cancel
        self._submitted_ns = time.perf_counter_ns()
        # Pieces of text and scores that were taken, and those that are there to be.
        self._taken = self._ready = (0, 0)
        self._finished = threading.Event()

    def take(self) -> str:
        """The text that came since the last call, perhaps none; never waits.

        A caller that asks less often gets longer pieces and delays nobody.
        """
        return self.take_scored()[0]

    def take_scored(self) -> tuple[str, list[TokenScore]]:
        """The same with the scores of its tokens, where the options ask for ``logprobs``."""
        (piece, score), ready = self._taken, self._ready
        self._taken = ready
        text = self.generation.text_between(piece, ready[0])
        return text, self.generation.scores[score : ready[1]]

    def hand_out(self) -> None:
        """Called by the batcher when there may be more text."""
        # One assignment, so that a reader gets the scores of a piece together with it.
        self._ready = (self.generation.pieces, len(self.generation.scores))

    def cancel(self) -> None:
        """Ends the request; its slot is free within one step."""
        if not self.done:
            self._cancel(self)

    def result(self, timeout: float | None = None) -> Generation:
        """Waits for the end of the request.

        Raises:
            TimeoutError: it takes longer than ``timeout`` seconds.
            RuntimeError: the engine failed.
        """
        if not self._finished.wait(timeout):
            raise TimeoutError(f"the request was not done after {timeout} s")
        if self.error is not None:
            raise RuntimeError(f"nothing could be generated: {self.error}") from self.error
        return self.generation

    def finish(self) -> None:
        """Called by the batcher when nothing more will come."""
        self.done = True
        self._finished.set()

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
