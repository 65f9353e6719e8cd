"""Pictures are unpacked one after the other, and leave nothing behind."""

import asyncio
import contextlib
import io
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from inference import load
from serving.ollama.classify_routes import _in_turn


def test_a_thread_keeps_its_turn_when_nobody_waits_for_it_any_more() -> None:
    begun, end, order = threading.Event(), threading.Event(), []

    def unpack() -> None:
        begun.set()
        end.wait(10)
        order.append("first")

    async def ask() -> None:
        turns = asyncio.Semaphore(1)
        first = asyncio.create_task(_in_turn(turns, unpack))
        await asyncio.to_thread(begun.wait, 10)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        second = asyncio.create_task(_in_turn(turns, order.append, "second"))
        await asyncio.sleep(0.1)
        assert order == []
        end.set()
        await second

    asyncio.run(ask())
    assert order == ["first", "second"]


def test_the_error_of_a_picture_keeps_nothing_of_it(artifact: Path) -> None:
    """A traceback has the frames in which the picture was unpacked, until the next collection."""
    blank = io.BytesIO()
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(blank, "PNG")
    (error,) = load(artifact).predict_each([blank.getvalue()])  # type: ignore[union-attr]
    assert isinstance(error, ValueError)
    assert error.__traceback__ is error.__cause__ is error.__context__ is None
