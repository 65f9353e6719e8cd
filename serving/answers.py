"""One text, from the request to its end, whatever form it is told in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serving.artifact import Artifact
from serving.errors import ApiError, busy
from serving.loaded import Loaded
from serving.options import sampling
from serving.state import State

if TYPE_CHECKING:
    from inference.batching import Request
    from inference.sampling import SamplingOptions

# More characters than that are made into tokens in a thread, so that others need not wait.
_LONG = 20_000


@dataclass(frozen=True)
class Asked:
    """What a request wants of a language model.

    Args:
        artifact: the model.
        keep_alive: how long it stays afterwards, in seconds; None for the server's default.
        prompt: makes the tokens of the prompt with the model in memory; raises ValueError where
            the model cannot read it.
        length: characters of the prompt.
        options: all of them, from :func:`serving.options.read_options`.
        truncate: cut a prompt that is too long, otherwise it is an error.
        shift: go on with the end of a text that fills the context, otherwise it ends there.
        json: write one JSON object and nothing else.
    """

    artifact: Artifact
    keep_alive: float | None
    prompt: Callable[[Loaded], list[int]]
    length: int
    options: Mapping[str, Any]
    truncate: bool = True
    shift: bool = True
    json: bool = False


@dataclass(frozen=True)
class Done:
    """How a text ended; times in nanoseconds, ``context`` is the tokens of prompt and text."""

    reason: str
    load_ns: int
    prompt_tokens: int
    prompt_ns: int
    tokens: int
    eval_ns: int
    context: list[int]


async def run(server: State, asked: Asked) -> AsyncGenerator[str | Done, None]:
    """Loads the model if need be, and gives pieces of text as they are made, then :class:`Done`.

    Whoever closes this ends the text.

    Raises:
        ApiError: the prompt or an option cannot be taken, too many wait, the model failed, the
            answer took too long.
    """
    limits = server.settings
    if asked.length > limits.max_prompt:
        raise ApiError(400, f"the prompt is longer than {limits.max_prompt:,} characters")
    began = time.perf_counter_ns()
    async with server.registry.use(asked.artifact, asked.keep_alive) as loaded:
        load_ns = time.perf_counter_ns() - began
        context, most = asked.artifact.context, limits.max_tokens
        options = sampling(asked.options, context, most, asked.shift, asked.json)
        try:
            if asked.length > _LONG:
                ids = await asyncio.to_thread(asked.prompt, loaded)
            else:
                ids = asked.prompt(loaded)
        except ValueError as error:
            raise ApiError(400, str(error)) from error
        request = _submit(loaded, ids, options, asked.truncate)
        text = request.generation
        try:
            async for piece in _pieces(server, request):
                yield piece
        finally:
            request.cancel()
            server.metrics.answered(asked.artifact.name, text.prompt_tokens, len(text.tokens))
        yield Done(
            text.reason or "",
            load_ns,
            text.prompt_tokens,
            request.prompt_ns,
            len(text.tokens),
            request.eval_ns,
            text.ids,
        )


def _submit(loaded: Loaded, ids: list[int], options: SamplingOptions, truncate: bool) -> Request:
    from inference.batching import Closed, QueueFull

    assert loaded.batcher is not None
    if len(ids) > options.window and not truncate:
        raise ApiError(400, "the input length exceeds the context length")
    try:
        return loaded.batcher.submit(ids, options, truncate)
    except QueueFull as error:
        raise busy() from error
    except Closed as error:
        raise ApiError(503, "the model is being unloaded; ask again") from error
    except ValueError as error:
        raise ApiError(400, str(error)) from error


async def _pieces(server: State, request: Request) -> AsyncGenerator[str, None]:
    began, limit = time.perf_counter(), server.settings.answer_seconds
    feed = server.registry.feed
    news = feed.watch(request)
    alarm = asyncio.get_running_loop().call_later(limit, news.set)
    first = True
    try:
        while True:
            await news.wait()
            news.clear()
            done = request.done  # looked at first, so that no piece comes after the end
            piece = request.take()
            if first and request.generation.first_ns:
                first = False
                server.metrics.first_token((request.queued_ns + request.prompt_ns) / 1e9)
            if piece:
                yield piece
            if done:
                break
            if time.perf_counter() - began > limit:
                raise ApiError(503, f"the answer took longer than {limit:.0f} s")
    finally:
        alarm.cancel()
        feed.unwatch(request)
    if request.error is not None:
        raise ApiError(500, f"the model failed: {request.error}")
    if request.generation.reason == "cancelled":
        raise ApiError(503, "the answer was ended: the server or the model is shutting down")
