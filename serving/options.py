"""Ollama's options, its defaults and its error texts, as what the sampler is asked."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from serving.durations import float_of
from serving.errors import ApiError

if TYPE_CHECKING:
    from inference.sampling import SamplingOptions

_log = logging.getLogger(__name__)

# name: (kind, default)
DEFAULTS: dict[str, tuple[str, Any]] = {
    "num_ctx": ("integer", 0),
    "num_keep": ("integer", 4),
    "seed": ("integer", -1),
    "num_predict": ("integer", -1),
    "top_k": ("integer", 40),
    "top_p": ("float32", 0.9),
    "min_p": ("float32", 0.0),
    "typical_p": ("float32", 1.0),
    "repeat_last_n": ("integer", 64),
    "temperature": ("float32", 0.8),
    "repeat_penalty": ("float32", 1.0),
    "presence_penalty": ("float32", 0.0),
    "frequency_penalty": ("float32", 0.0),
    "stop": ("array", ()),
}
# What Ollama's runner takes and no text depends on.
IGNORED = {"num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap"}
MOST_STOPS, LONGEST_STOP = 64, 1024


def read_options(asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """All options: what was asked, else Ollama's default.

    Raises:
        ApiError: 400 for a value of the wrong type.
    """
    options = {name: default for name, (_, default) in DEFAULTS.items()}
    unknown = 0
    for name, value in (asked or {}).items():
        if name not in DEFAULTS:
            unknown += name not in IGNORED
        elif value is not None:
            options[name] = _typed(name, value)
    if unknown:  # one line a request, without its words
        _log.warning("%d options of a request are not known", unknown)
    return options


def sampling(
    options: Mapping[str, Any], context: int, most: int, shift: bool = True, json: bool = False
) -> SamplingOptions:
    """What the sampler is asked.

    Args:
        options: from :func:`read_options`.
        context: positions of the model.
        most: tokens that one answer may have.
        shift: go on where the text fills the context.
        json: write one JSON object.

    Raises:
        ApiError: 400 for a value that is not possible or not supported.
    """
    from inference.sampling import SamplingOptions

    if options["typical_p"] != 1:
        raise ApiError(400, 'option "typical_p" is not supported; leave it at 1')
    predict = options["num_predict"]
    if predict == 0:
        raise ApiError(400, 'option "num_predict" must be at least 1, or -1 for no limit')
    window = min(options["num_ctx"], context) if options["num_ctx"] > 0 else context
    # Ollama, too, lets no answer be longer than ten contexts.
    limit = min(most, 10 * window)
    if predict == -2:
        limit = min(limit, window)
    seed, last_n = options["seed"], options["repeat_last_n"]
    try:
        return SamplingOptions(
            max_new_tokens=min(predict, limit) if predict > 0 else limit,
            temperature=max(0.0, options["temperature"]),
            top_k=max(0, options["top_k"]),
            # Above 1 it is off; with 0 the likeliest token is left.
            top_p=min(max(options["top_p"], 1e-9), 1.0),
            min_p=min(max(options["min_p"], 0.0), 1.0),
            repetition_penalty=options["repeat_penalty"] if last_n else 1.0,
            presence_penalty=options["presence_penalty"] if last_n else 0.0,
            frequency_penalty=options["frequency_penalty"] if last_n else 0.0,
            penalty_window=last_n if last_n > 0 else window,
            stop=tuple(options["stop"]),
            seed=None if seed < 0 else seed,
            window=window,
            keep=max(0, options["num_keep"]),
            shift=shift,
            json=json,
        )
    except ValueError as error:
        raise ApiError(400, str(error)) from error


def _typed(name: str, value: Any) -> Any:
    kind = DEFAULTS[name][0]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "array":
        if not isinstance(value, list):
            raise ApiError(400, f'option "{name}" must be of type array')
        if not all(isinstance(item, str) for item in value):
            raise ApiError(400, f'option "{name}" must be of an array of strings')
        return _stops(value)
    if not number or not math.isfinite(float_of(value)):
        raise ApiError(400, f'option "{name}" must be of type {kind}')
    if kind == "integer":
        if not -(2**63) <= value < 2**63:
            raise ApiError(400, f'option "{name}" must be of type integer')
        return int(value)
    return float(value)


def _stops(values: list[str]) -> list[str]:
    if len(values) > MOST_STOPS or any(len(value) > LONGEST_STOP for value in values):
        raise ApiError(
            400, f"at most {MOST_STOPS} stop strings of {LONGEST_STOP} characters are taken"
        )
    return [value for value in values if value]
