"""Vectors of texts, whichever API asked for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from serving.artifact import Artifact
from serving.errors import ApiError
from serving.prompts import check_tokens
from serving.state import State


async def vectors(
    server: State,
    artifact: Artifact,
    keep_alive: float | None,
    inputs: Sequence[str | list[int]],
    encode: Callable[[list[float]], bytes],
    truncate: bool = True,
    size: int = 0,
) -> tuple[list[bytes], int, int]:
    """One vector for each input.

    Args:
        server: its parts.
        artifact: the model.
        keep_alive: how long it stays afterwards, in seconds; None for the server's default.
        inputs: texts, or their tokens.
        encode: writes a vector as JSON, each alone, so that nobody waits for all of them to be
            written in one go.
        truncate: cut an input that is too long, otherwise it is an error.
        size: numbers of a vector, 0 for all.

    Returns:
        The vectors as JSON, the number of tokens, and nanoseconds of loading.

    Raises:
        ApiError: 400 for too many inputs, one that the model cannot read, or one that is too long.
    """
    limits = server.settings
    if len(inputs) > limits.max_inputs:
        raise ApiError(400, f"{len(inputs):,} inputs are too many; {limits.max_inputs:,} are taken")
    if sum(map(len, inputs)) > limits.max_prompt:
        raise ApiError(400, f"the inputs have more than {limits.max_prompt:,} characters")
    began = time.perf_counter_ns()
    async with server.registry.use(artifact, keep_alive) as loaded:
        load_ns = time.perf_counter_ns() - began
        try:
            found, tokens = [], 0
            for given in inputs:
                if isinstance(given, str):
                    ids = await asyncio.to_thread(loaded.tokens, given)
                else:
                    ids = check_tokens(loaded, given, "input")
                if len(ids) > artifact.context and not truncate:
                    raise ApiError(400, "the input length exceeds the context length")
                ids = ids[: artifact.context]
                tokens += len(ids)
                # One at a time, so that running requests continue in between.
                found.append(encode(await asyncio.wrap_future(loaded.embed(ids, size))))
        except ValueError as error:
            raise ApiError(400, str(error)) from error
    return found, tokens, load_ns
