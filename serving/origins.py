"""Which pages and apps may ask: a browser sends where a page comes from as its Origin."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.datastructures import Headers

# Ollama's defaults, and the names under localhost: pages of this machine, desktop apps, editors.
DEFAULTS = (
    *(
        f"{scheme}://{host}{port}"
        for scheme in ("http", "https")
        for host in ("localhost", "*.localhost", "127.0.0.1", "0.0.0.0", "[::1]")
        for port in ("", ":*")
    ),
    *("app://*", "file://*", "tauri://*", "vscode-webview://*", "vscode-file://*"),
)
_LONGEST = 200  # characters of an origin
_PATTERN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/?#,]+")
_ADDRESS = re.compile(r"[a-z0-9.:\[\]_-]+")
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # of RFC 9110
_TOKENS = re.compile(rf"{_TOKEN}(?: *, *{_TOKEN})*")
_METHODS = "GET, POST, DELETE, HEAD, OPTIONS"
_HEADERS = "Authorization, Content-Type, Accept, User-Agent, X-Api-Key"


def read_origins(text: str) -> tuple[str, ...]:
    """Patterns of origins from a list that is separated by commas, as in ``OLLAMA_ORIGINS``.

    Raises:
        ValueError: one that no origin can match.
    """
    patterns = [part.strip().rstrip("/").lower() for part in text.split(",") if part.strip()]
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(
                f"{pattern!r} is not an origin; write it as a browser sends it: "
                "https://chat.example.org, https://*.example.org, chrome-extension://*, * for all"
            )
    return tuple(patterns)


class Origins:
    """The origins that are accepted.

    Args:
        more: patterns beside the defaults; ``*`` stands for any part of a host, or any port.
    """

    def __init__(self, more: Sequence[str]) -> None:
        self._accepted = re.compile("|".join(map(_expression, (*DEFAULTS, *more))))

    def refused(self, headers: Headers) -> str | None:
        """The origin of a page that may not ask, None where there is none or it may."""
        origin = headers.get("origin")
        if origin is None or (len(origin) <= _LONGEST and self._accepted.fullmatch(origin.lower())):
            return None
        scheme, _, address = origin.lower().partition("://")
        own = headers.get("host", "").lower()  # a page of this server, by whatever name
        if scheme in ("http", "https") and _ADDRESS.fullmatch(address) and address == own:
            return None
        return "another machine" if len(origin) > _LONGEST else ascii(origin)


def preflight(headers: Headers) -> dict[str, str]:
    """What a page of an accepted origin may send: whatever its browser asks for."""
    method = headers.get("access-control-request-method", "")
    names = headers.get("access-control-request-headers", "")
    return {
        "Access-Control-Allow-Methods": method if _TOKENS.fullmatch(method) else _METHODS,
        "Access-Control-Allow-Headers": names if _TOKENS.fullmatch(names) else _HEADERS,
        "Access-Control-Max-Age": "600",
        "Vary": "Access-Control-Request-Method, Access-Control-Request-Headers",
    }


def _expression(pattern: str) -> str:
    """A regular expression for origins in lower case."""
    if "://" not in pattern:
        return ".*" if pattern == "*" else re.escape(pattern)
    scheme, _, rest = pattern.partition("://")
    any_of, port = "[!-~]*", ""
    if scheme in ("http", "https"):
        any_of = "[a-z0-9.-]*"
        if rest.endswith("*"):  # the port, or the end of a host with any port
            port = ":[0-9]{1,5}" if rest.endswith(":*") else "(?::[0-9]{1,5})?"
            rest = rest.removesuffix(":*")
    return re.escape(f"{scheme}://") + any_of.join(map(re.escape, rest.split("*"))) + port
