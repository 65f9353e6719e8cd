"""Completions, from the request to their end, whichever API asked for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from starlette.types import Receive

from inference.text.options import SamplingOptions
from serving.artifact import Artifact
from serving.errors import ApiError, busy, public_message
from serving.grammars import grammar_of
from serving.loaded import Loaded
from serving.pieces import Finished, Piece, Progress
from serving.prompts import Tokens
from serving.state import State
from serving.streaming import made, unless_gone

if TYPE_CHECKING:
    from inference.text.grammar import Grammar
    from inference.text.request import Request

T = TypeVar("T")
# More characters than that are made into tokens in a thread, so that others need not wait.
_LONG = 20_000


@dataclass(frozen=True)
class GenerationRequest:
    """What a route asks of a language model.

    Args:
        artifact: the model.
        keep_alive: how long it stays afterwards, in seconds; None for the server's default.
        prompt: makes the tokens of the prompt with the model in memory; raises ValueError where
            the vocabulary lacks a character.
        length: characters of the prompt.
        options: how the tokens are sampled, and where the completion ends.
        truncate: cut a prompt that is too long, otherwise it is an error.
        echo: the answer begins with the prompt, scored where the options say so.
        bias: pairs of a token and what is added to its logit, with the model in memory; raises
            ValueError for a token that it does not have.
    """

    artifact: Artifact
    keep_alive: float | None
    prompt: Tokens
    length: int
    options: SamplingOptions
    truncate: bool = True
    echo: bool = False
    bias: Callable[[Loaded], tuple[tuple[int, float], ...]] | None = None


async def stream(
    server: State, *requests: GenerationRequest
) -> AsyncGenerator[Piece | Finished, None]:
    """Loads the model if need be, and yields text as it is generated, then :class:`Finished`.

    Several requests are of one model and run beside each other; each piece says whose it is.
    Whoever closes this cancels them.

    Raises:
        ApiError: a prompt or a schema cannot be taken, the queue is full, the model failed, the
            answer took too long.
    """
    limits, first = server.settings, requests[0]
    _check_length(server, sum({one.prompt: one.length for one in requests}.values()))
    began = time.perf_counter_ns()
    async with server.registry.use(first.artifact, first.keep_alive) as loaded:
        load_ns = time.perf_counter_ns() - began
        submitted: list[Request] = []
        try:
            known: dict[Tokens, list[int]] = {}
            for request in requests:
                if request.prompt not in known:
                    known[request.prompt] = await _ask(loaded, request.prompt, request.length)
            _check_scores(limits.max_scores, [(known[one.prompt], one.options) for one in requests])
            # One for each answer, whose tokens it follows.
            grammars = [await grammar_of(server, loaded, one.options.schema) for one in requests]
            for request, grammar in zip(requests, grammars, strict=True):
                submitted.append(_submit(loaded, known[request.prompt], request, grammar))
            answers = [
                Progress(loaded, one, choice, request.echo)
                for choice, (request, one) in enumerate(zip(requests, submitted, strict=True))
            ]
            async for answer in _news(server, answers):
                for piece in answer.pieces():
                    yield piece
                if answer.done:
                    _check_end(server, answer.submitted)
                    yield answer.finished(load_ns)
        finally:
            for one in submitted:
                one.cancel()
                server.metrics.answered(first.artifact.name, one)


async def ask_tokenizer(
    server: State, artifact: Artifact, work: Callable[[Loaded], T], length: int
) -> T:
    """The result of ``work`` with the model in memory; in a thread where the input is long.

    Raises:
        ApiError: ``work`` raised ValueError, the input has more characters than a prompt may have,
            or the model cannot be loaded.
    """
    _check_length(server, length)
    async with server.registry.use(artifact, None) as loaded:
        return await _ask(loaded, work, length)


def _check_length(server: State, length: int) -> None:
    most = server.settings.max_prompt
    if length > most:
        raise ApiError(400, f"the prompt is longer than {most:,} characters")


async def _ask(loaded: Loaded, work: Callable[[Loaded], T], length: int) -> T:
    try:
        if length > _LONG:
            return await asyncio.to_thread(work, loaded)
        return work(loaded)
    except ValueError as error:
        raise ApiError(400, str(error)) from error


async def complete(
    server: State, request: GenerationRequest, receive: Receive
) -> tuple[Piece, Finished]:
    """The whole completion; a client that goes away cancels it.

    Raises:
        ApiError: as :func:`stream`.
    """
    (answer,) = await complete_all(server, [request], receive)
    return answer


async def complete_all(
    server: State, requests: Sequence[GenerationRequest], receive: Receive
) -> list[tuple[Piece, Finished]]:
    """The whole completions of requests of one model, in their order; as :func:`complete`."""

    async def collect() -> list[tuple[Piece, Finished]]:
        pieces: list[list[Piece]] = [[] for _ in requests]
        ends: dict[int, Finished] = {}
        async for piece in stream(server, *requests):
            if isinstance(piece, Finished):
                ends[piece.choice] = piece
            else:
                pieces[piece.choice].append(piece)
        return [(_joined(each, choice), ends[choice]) for choice, each in enumerate(pieces)]

    return await unless_gone(receive, collect(), server.settings.answer_seconds)


def _joined(pieces: list[Piece], choice: int) -> Piece:
    logprobs = [one for piece in pieces for one in piece.logprobs]
    return Piece("".join(pieces), choice, logprobs)


def _check_scores(most: int, asked: Sequence[tuple[list[int], SamplingOptions]]) -> None:
    """Raises ApiError 400 where the answers could hold too many log-probabilities."""
    count = sum(
        (options.max_new_tokens + options.score_prompt * len(ids)) * (1 + options.logprobs)
        for ids, options in asked
        if options.logprobs is not None
    )
    if count > most:
        raise ApiError(
            400,
            f"the answer could have {count:,} log-probabilities and {most:,} are made; ask for "
            "fewer of them, fewer tokens or fewer answers",
        )


def _submit(
    loaded: Loaded, ids: list[int], request: GenerationRequest, grammar: Grammar | None
) -> Request:
    from inference.text.batching import Closed, QueueFull

    assert loaded.batcher is not None
    options = request.options
    if len(ids) > options.window and not request.truncate:
        raise ApiError(400, "the input length exceeds the context length")
    try:
        if request.bias:
            options = replace(options, logit_bias=request.bias(loaded))
        return loaded.batcher.submit(ids, options, request.truncate, grammar)
    except QueueFull as error:
        raise busy() from error
    except Closed as error:
        raise ApiError(503, "the model is being unloaded; ask again") from error
    except ValueError as error:
        raise ApiError(400, str(error)) from error


async def _news(server: State, answers: Sequence[Progress]) -> AsyncGenerator[Progress, None]:
    """The answers that have something new, until all are done."""
    began, limit = time.perf_counter(), server.settings.answer_seconds
    notifier = server.registry.notifier
    news = notifier.watch(*(answer.submitted for answer in answers))
    alarm = asyncio.get_running_loop().call_later(limit, news.set)
    silent, running = set(answers), list(answers)
    try:
        while running:
            await news.wait()
            news.clear()
            for answer in list(running):
                await made(answer.heavy, answer.look)
                request = answer.submitted
                if answer in silent and request.generation.first_ns:
                    silent.remove(answer)
                    server.metrics.first_token(answer.model, request)
                if answer.done:
                    running.remove(answer)
                yield answer
            if running and time.perf_counter() - began > limit:
                raise ApiError(503, f"the answer took longer than {limit:.0f} s")
    finally:
        alarm.cancel()
        notifier.unwatch(*(answer.submitted for answer in answers))


def _check_end(server: State, request: Request) -> None:
    if request.generation.error is not None:
        raise ApiError(400, str(request.generation.error))
    if request.error is not None:
        what = public_message(request.error, server.settings.models)
        raise ApiError(500, f"the model failed: {what}")
    if request.generation.reason == "cancelled":
        raise ApiError(503, "the answer was ended: the server or the model is shutting down")
