"""OpenAI's ``response_format``, and ``text.format`` of its newer route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference.text.options import ANY_OBJECT
from serving.errors import ApiError


def response_schema(
    given: Mapping[str, Any] | None, field: str = "response_format"
) -> Mapping[str, Any] | None:
    """The JSON Schema that an answer has to conform to; None for text.

    ``strict`` changes nothing: an answer conforms to its schema, or the schema is refused.

    Raises:
        ApiError: 400 for another form.
    """
    if given is None:
        return None
    kind = given.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return ANY_OBJECT
    if kind != "json_schema":
        raise ApiError(400, f"{field}.type must be text, json_object or json_schema")
    described = given.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    if not isinstance(schema, dict):
        raise ApiError(400, f"{field} of type json_schema needs a schema: a JSON Schema object")
    return schema
