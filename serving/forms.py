"""Uploads: forms of ``multipart/form-data`` (RFC 7578), split where their boundary is."""

import re

from serving.errors import ApiError

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^";,\s]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="?([^";\r\n]*)', re.IGNORECASE)
_MOST_FIELDS, _LONGEST_HEAD = 8, 1024  # beside the files; of one part


def read_form(kind: str, body: bytes, most: int) -> list[tuple[str, bytes]]:
    """Names and contents of a form's parts, in order.

    Args:
        kind: the Content-Type; a charset in it changes nothing, names are UTF-8.
        body: the form.
        most: parts that are taken.

    Raises:
        ApiError: 400 for what is not a form, or has too many parts.
    """
    found = _BOUNDARY.search(kind[:1000])
    if not found:
        raise ApiError(400, "the form cannot be read: its Content-Type names no boundary")
    line = b"\r\n--" + (found[1] or found[2]).encode("latin-1")
    _, *parts = (b"\r\n" + body).split(line, most + _MOST_FIELDS + 1)
    if not parts or not parts.pop().startswith(b"--"):
        raise ApiError(
            400,
            "the form cannot be read: it has no end, or more than "
            f"{most} files and {_MOST_FIELDS} fields",
        )
    return [_part(part) for part in parts]


def _part(part: bytes) -> tuple[str, bytes]:
    head, found, _ = part[: _LONGEST_HEAD + 4].partition(b"\r\n\r\n")
    name = _NAME.search(head)
    if not found or not name:
        raise ApiError(
            400,
            f"the form cannot be read: a part has no name in its first {_LONGEST_HEAD:,} bytes",
        )
    return name[1].decode("utf-8", "replace"), part[len(head) + 4 :]
