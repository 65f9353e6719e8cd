"""How text gets from the batcher's thread to its readers."""

import time

from inference.text.batching import Request
from serving.notifier import LONGEST, PAUSE, Notifier


class Loop:
    """Takes down what an event loop is asked to do, and does it when told."""

    def __init__(self) -> None:
        self.now: list = []
        self.later: list = []

    def call_soon(self, function) -> None:
        self.now.append(function)

    call_soon_threadsafe = call_soon

    def call_later(self, seconds: float, function) -> None:
        self.later.append((seconds, function))

    def run_once(self) -> None:
        calls, self.now = self.now, []
        for call in calls:
            call()


def test_deliveries_rest_between_them_and_longer_after_long_ones() -> None:
    loop = Loop()
    notifier = Notifier(loop)  # type: ignore[arg-type]
    request = object.__new__(Request)
    news = notifier.watch(request)
    news.clear()

    notifier.wake([request])
    loop.run_once()
    assert news.is_set()  # the first goes out at once
    news.clear()
    time.sleep(0.002)  # what the readers do with it
    loop.run_once()
    seconds, wake_up = loop.later.pop()
    assert PAUSE * 0.002 <= seconds <= LONGEST

    for _ in range(10):  # steps in the pause are one delivery
        notifier.wake([request])
    loop.run_once()
    assert not news.is_set()
    wake_up()
    assert news.is_set()
    news.clear()
    time.sleep(0.05)  # requests that came meanwhile made it long
    loop.run_once()
    seconds, wake_up = loop.later.pop()
    assert seconds == LONGEST

    wake_up()  # nothing came: the next goes out at once again
    assert not news.is_set()
    notifier.wake([request])
    loop.run_once()
    assert news.is_set()


def test_an_end_does_not_wait_for_the_pause_and_takes_nobody_with_it() -> None:
    loop = Loop()
    notifier = Notifier(loop)  # type: ignore[arg-type]
    running, ended = object.__new__(Request), object.__new__(Request)
    events = [notifier.watch(running), notifier.watch(ended)]
    notifier.wake([running, ended])
    loop.run_once()
    loop.run_once()
    (_, wake_up), *_ = loop.later
    for event in events:
        event.clear()

    ended.done = True
    notifier.wake([running, ended])  # within the pause
    loop.run_once()
    assert [event.is_set() for event in events] == [False, True]
    wake_up()
    assert [event.is_set() for event in events] == [True, True]
