"""Ollama's options, with its defaults and errors, in the sampler's terms."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from inference.text.options import SamplingOptions
from serving.errors import ApiError
from serving.ollama.durations import float_of
from serving.settings import Settings
from serving.wire import Wire

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
    "mirostat": ("integer", 0),
    "tfs_z": ("float32", 1.0),
    "repeat_last_n": ("integer", 64),
    "temperature": ("float32", 0.8),
    "repeat_penalty": ("float32", 1.0),
    "presence_penalty": ("float32", 0.0),
    "frequency_penalty": ("float32", 0.0),
    "stop": ("array", ()),
}
# What no sampler here does: with another value than these they are refused.
_NEUTRAL = {"typical_p": 1, "mirostat": 0, "tfs_z": 1}
# What Ollama's runner takes and no completion depends on.
IGNORED = {"num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap"}


def sampling_options(
    given: Mapping[str, Any] | None,
    context: int,
    limits: Settings,
    shift: bool = True,
    schema: Mapping[str, Any] | None = None,
) -> SamplingOptions:
    """The options of a request in the sampler's terms; Ollama's defaults for the others.

    Args:
        given: by Ollama's names.
        context: positions of the model.
        limits: the server's.
        shift: continue where the sequence fills the context.
        schema: JSON Schema that the answer conforms to.

    Raises:
        ApiError: 400 for a value that is not possible, not supported or of the wrong type, or for
            too many options or stop strings.
    """
    options = _all_options(given, limits)
    for name, value in _NEUTRAL.items():
        if options[name] != value:
            raise ApiError(400, f'option "{name}" is not supported; leave it at {value}')
    predict = options["num_predict"]
    if predict == 0:
        raise ApiError(400, 'option "num_predict" must be at least 1, or -1 for no limit')
    window = min(options["num_ctx"], context) if options["num_ctx"] > 0 else context
    # Ollama, too, lets no answer be longer than ten contexts.
    limit = min(limits.max_tokens, 10 * window)
    if predict == -2:
        limit = min(limit, window)
    seed, last_n = options["seed"], options["repeat_last_n"]
    try:
        return SamplingOptions(
            max_new_tokens=min(predict, limit) if predict > 0 else limit,
            temperature=max(0.0, options["temperature"]),
            top_k=max(0, options["top_k"]),
            # Above 1 it is off; with 0 the most likely token is left.
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
            schema=schema,
        )
    except ValueError as error:
        raise ApiError(400, str(error)) from error


def only_neutral(asked: Wire, neutral: Mapping[str, Sequence[Any]]) -> None:
    """Refuses fields of a request that have another value than their ``neutral`` ones.

    Raises:
        ApiError: 400 that names the field.
    """
    for field, values in neutral.items():
        value = getattr(asked, field, None)
        if value is not None and value not in values:
            raise ApiError(400, f"{field} is not supported by this server")


def token_limit(most: int | None, field: str) -> int | None:
    """The limit that a request sets for its answer; None, and -1 as in ``num_predict``, for none.

    Raises:
        ApiError: 400 for any other number below 1.
    """
    if most is None or most == -1:
        return None
    if most < 1:
        raise ApiError(400, f"{field} must be at least 1, or -1 for no limit")
    return most


def _all_options(given: Mapping[str, Any] | None, limits: Settings) -> dict[str, Any]:
    if given and len(given) > limits.max_options:
        raise ApiError(400, f"{len(given):,} options are too many; {limits.max_options} are taken")
    options = {name: default for name, (_, default) in DEFAULTS.items()}
    unknown = 0
    for name, value in (given or {}).items():
        if name not in DEFAULTS:
            unknown += name not in IGNORED
        elif value is not None:
            options[name] = _typed(name, value, limits)
    if unknown:  # one line per request, without its words
        _log.warning("%d options of a request are not known", unknown)
    return options


def _typed(name: str, value: Any, limits: Settings) -> Any:
    kind = DEFAULTS[name][0]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "array":
        if not isinstance(value, list):
            raise ApiError(400, f'option "{name}" must be of type array')
        if not all(isinstance(item, str) for item in value):
            raise ApiError(400, f'option "{name}" must be of an array of strings')
        return _stops(value, limits)
    if not number or not math.isfinite(float_of(value)):
        raise ApiError(400, f'option "{name}" must be of type {kind}')
    if kind == "integer":
        if not -(2**63) <= value < 2**63:
            raise ApiError(400, f'option "{name}" must be of type integer')
        return int(value)
    return float(value)


def _stops(values: list[str], limits: Settings) -> list[str]:
    most, longest = limits.max_stops, limits.max_stop
    if len(values) > most or any(len(value) > longest for value in values):
        raise ApiError(400, f"at most {most} stop strings of {longest:,} characters are taken")
    return [value for value in values if value]
