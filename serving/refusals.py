"""Errors in the form that a caller expects: Ollama's, OpenAI's or Anthropic's, by the path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse, PlainTextResponse, Response

from serving.errors import ApiError

# What Ollama answers in plain text, where no route was found that could have another form.
_PLAIN = {404: "404 page not found", 405: "405 method not allowed"}
_OPENAI = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_ANTHROPIC = {
    **_OPENAI,
    413: "request_too_large",
    503: "overloaded_error",
}


def refusal(path: str, error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request for ``path`` that ends with ``error``."""
    return JSONResponse(document(path, error), error.status, headers=headers)


def unrouted(path: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """The answer where no route has this path (404), or this method (405)."""
    if _in(path, "/v1"):
        return refusal(path, ApiError(status, _PLAIN[status]), headers)
    return PlainTextResponse(_PLAIN[status], status, headers)


def document(path: str, error: ApiError) -> dict[str, Any]:
    """The body of such an answer, which is also how a stream for ``path`` ends."""
    if _in(path, "/v1/messages"):
        kind = _kind(_ANTHROPIC, error.status)
        return {"type": "error", "error": {"type": kind, "message": error.text}}
    if any(_in(path, root) for root in ("/v1", "/tokenize", "/detokenize")):
        kind = _kind(_OPENAI, error.status)
        return {"error": {"message": error.text, "type": kind, "param": None, "code": None}}
    return {"error": error.text}


def _in(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")


def _kind(kinds: Mapping[int, str], status: int) -> str:
    return kinds.get(status, "invalid_request_error" if status < 500 else "api_error")
