"""Grammars of JSON Schemas, made in a thread of their own so that no other request waits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from serving.errors import ApiError
from serving.loaded import Loaded
from serving.state import State

if TYPE_CHECKING:
    from inference.text.grammar import Grammar


async def grammar_of(
    server: State, loaded: Loaded, schema: Mapping[str, Any] | None
) -> Grammar | None:
    """What a request's JSON Schema allows the model to write; None without a schema.

    Raises:
        ApiError: 400 for a schema that cannot be taken, 503 where it took too long.
    """
    if schema is None:
        return None
    assert loaded.batcher is not None
    limit = server.settings.schema_seconds
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(server.schemas, loaded.batcher.generator.compile, schema)
    try:
        # Not wait_for, which before Python 3.12 forgets a cancellation that comes with the result.
        await asyncio.wait({work}, timeout=limit)
        if not work.done():
            raise ApiError(503, f"the schema was not compiled in {limit:.0f} s")
        return work.result()
    except ValueError as error:
        raise ApiError(400, str(error)) from error
    finally:
        work.cancel()
