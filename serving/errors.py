"""What a client did wrong, or what the server cannot do: a status and one sentence."""

import re
from pathlib import Path

BUSY = "server busy, please try again.  maximum pending requests exceeded"
_LONGEST_NAME = 255  # characters; no folder's is longer
_FOLDERS = re.compile(r"(?<![\w./])/(?:[^/\s'\"]+/)+")


class ApiError(Exception):
    """Ends a request with a status and a text; each API puts it into its own form.

    Args:
        status: of HTTP.
        text: what the client reads.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def busy() -> ApiError:
    return ApiError(503, BUSY)


def not_found(name: str) -> ApiError:
    return ApiError(404, f"model '{name[:_LONGEST_NAME]}' not found")


def public_message(error: Exception, models: Path) -> str:
    """What a client may see of an error: one line, and files without the folders above them."""
    text = next(iter(str(error)[:2000].splitlines()), "") or type(error).__name__
    for folder in (models.resolve(), models.absolute(), models):
        text = text.replace(f"{folder}/", "")
    return _FOLDERS.sub("", text)[:300]


def unsupported(name: str, what: str) -> ApiError:
    return ApiError(400, f'"{name}" does not support {what}')
