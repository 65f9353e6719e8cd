"""``keep_alive``: seconds as a number, or one of Go's durations as a string."""

import math
import re
from typing import Any

from serving.errors import ApiError

_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|\xb5s|\u03bcs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "\xb5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0}
_SECONDS |= {"m": 60.0, "h": 3600.0}
LONGEST = 9_223_372_036  # seconds in Go's longest duration, 292 years


def seconds(value: Any) -> float | None:
    """How long a model stays: None where nothing was said, infinite for a negative value.

    Raises:
        ApiError: 400 for what is no duration.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ApiError(400, f"Unsupported type: {type(value).__name__}")
    length = float_of(value) if not isinstance(value, str) else _parse(value)
    if length < 0 or length > LONGEST:
        return math.inf
    return length


def float_of(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _parse(text: str) -> float:
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    parts = _PART.findall(rest) if len(rest) <= 100 else []
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise ApiError(400, f'time: invalid duration "{text[:100]}"')
    return sign * sum(float(number) * _SECONDS[unit] for number, unit in parts)
