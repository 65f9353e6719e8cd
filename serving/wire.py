"""JSON in and out: bodies read strictly, errors worded as Ollama words them."""

import json
import re
import time
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from serving.errors import ApiError

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_KINDS = {str: "string", bool: "bool", int: "number", float: "number", list: "array"}
_WANTED = {
    "string_type": "string",
    "bool_type": "bool",
    "int_type": "int",
    "int_from_float": "int",
    "float_type": "float64",
    "list_type": "array",
    "dict_type": "map[string]interface {}",
    "model_type": "object",
    "model_attributes_type": "object",
}


class Wire(BaseModel):
    """A body: types are as written, unknown fields are let pass, null is as good as absent."""

    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())
    # Reading JSON holds all others up, so no more of it is taken than a request can need.
    largest: ClassVar[int] = 8 << 20


Body = TypeVar("Body", bound=Wire)


def read(kind: type[Body], body: bytes) -> Body:
    """Reads a body; the Content-Type does not matter.

    Raises:
        ApiError: 400 for an empty body, one that is not JSON, or a field of the wrong type; 413
            for one that is too large.
    """
    if len(body) > kind.largest:
        raise ApiError(413, f"the request is larger than {kind.largest:,} bytes")
    document = read_json(body)
    if not isinstance(document, dict):
        found = _KINDS.get(type(document), "null")
        raise ApiError(
            400, f"json: cannot unmarshal {found} into Go value of type api.{kind.__name__}"
        )
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        path = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
        found = _KINDS.get(type(first["input"]), "object")
        wanted = _WANTED.get(first["type"], first["msg"])
        raise ApiError(
            400,
            f"json: cannot unmarshal {found} into Go struct field {kind.__name__}.{path} of type "
            f"{wanted}",
        ) from error


def read_json(body: bytes) -> Any:
    """The value of a JSON text; bytes that are no UTF-8 become U+FFFD, as in Ollama."""
    if not body.strip():
        raise ApiError(400, "missing request body")
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text, parse_constant=_no_constant)
        return _whole(value) if _SURROGATE.search(text) else value
    except RecursionError as error:
        raise ApiError(400, "invalid JSON: exceeded max depth") from error
    except ValueError as error:
        place = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise ApiError(400, f"invalid JSON: {what}{place}") from error


def line(document: dict[str, Any]) -> bytes:
    """One line of a stream."""
    return dump(document) + b"\n"


def dump(document: Any) -> bytes:
    return _ENCODER.encode(document).encode()


def timestamp(nanoseconds: int | None = None) -> str:
    """A point in time as RFC 3339 with nanoseconds; now if None."""
    now = time.time_ns() if nanoseconds is None else nanoseconds
    seconds, rest = divmod(now, 10**9)
    return f"{_second(seconds)}.{rest:09}Z"


@lru_cache(maxsize=16)  # thousands of lines a second say when they were made
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
