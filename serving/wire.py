"""JSON in and out: bodies are validated strictly, errors are one sentence."""

import asyncio
import json
import re
import time
from functools import lru_cache
from itertools import accumulate
from typing import Any, ClassVar, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from serving.errors import ApiError
from serving.settings import Settings

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_DEPTH = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes({*range(256)} - {*_DEPTH})
# Larger bodies are read in a thread, so that the event loop need not wait.
_LARGE = 20_000


class Wire(BaseModel):
    """A body: types are as written, unknown fields are ignored, null is the same as absent."""

    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())
    # Whether its strings are files: the limit of all bodies is then enough.
    of_files: ClassVar[bool] = False


Body = TypeVar("Body", bound=Wire)


async def read(kind: type[Body], request: Request) -> Body:
    """Reads a body; the Content-Type does not matter.

    Raises:
        ApiError: 400 for an empty body, one that is not JSON, or a field of the wrong type; 413
            for one that is too large.
    """
    server = request.app.state.server
    limits: Settings = server.settings
    body = await request.body()
    if len(body) > limits.max_json and not kind.of_files:
        raise ApiError(413, f"the request is larger than {limits.max_json:,} bytes")
    if len(body) > _LARGE:
        # One after the other: each keeps the interpreter for tens of milliseconds at a time.
        async with server.large_bodies:
            return await asyncio.to_thread(_read, kind, body, limits)
    return _read(kind, body, limits)


def _read(kind: type[Body], body: bytes, limits: Settings) -> Body:
    document = read_json(body, limits)
    if not isinstance(document, dict):
        raise ApiError(400, "the body is not a JSON object")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ApiError(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def read_json(body: bytes, limits: Settings) -> Any:
    """The value of a JSON text; bytes that are not UTF-8 become U+FFFD, as in Ollama.

    Raises:
        ApiError: 400 for what is not JSON, or has too many values or brackets in one another.
    """
    if not body.strip():
        raise ApiError(400, "missing request body")
    _check_size(body, limits)
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text, parse_constant=_no_constant)
        return _whole(value) if _SURROGATE.search(text) else value
    except ValueError as error:
        place = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise ApiError(400, f"invalid JSON: {what}{place}") from error


def _check_size(body: bytes, limits: Settings) -> None:
    """Counts before anything is made of them: an empty list of three bytes takes 60 in memory."""
    plain, most = body.replace(b"\\\\", b"").replace(b'\\"', b""), limits.max_values
    outside = brackets = b""
    # Every value may be a string, and have a name.
    if few := plain.count(b'"') <= 4 * most:
        outside = b"".join(plain.split(b'"')[::2])
        brackets = outside.translate(None, _NO_BRACKETS)
        few = outside.count(b",") + len(brackets) // 2 <= most
    if not few:
        raise ApiError(400, f"the JSON has more than {most:,} values")
    if max(accumulate(map(_DEPTH.__getitem__, brackets)), default=0) > limits.max_depth:
        raise ApiError(400, f"the JSON has more than {limits.max_depth} brackets in one another")


def line(document: dict[str, Any]) -> bytes:
    """One line of a stream."""
    return dump(document) + b"\n"


def event(document: dict[str, Any], name: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return b"%bdata: %b\n\n" % (head, dump(document))


def dump(document: Any) -> bytes:
    return _ENCODER.encode(document).encode()


def timestamp(nanoseconds: int | None = None) -> str:
    """A point in time as RFC 3339 with nanoseconds; now if None."""
    now = time.time_ns() if nanoseconds is None else nanoseconds
    seconds, rest = divmod(now, 10**9)
    return f"{_second(seconds)}.{rest:09}Z"


@lru_cache(maxsize=16)  # thousands of lines per second say when they were made
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def without_zeros(document: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what is zero, empty or None, as Ollama does with its metrics."""
    return {key: value for key, value in document.items() if value}


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _whole(value: Any) -> Any:
    """Half characters (lone surrogates) become U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value
