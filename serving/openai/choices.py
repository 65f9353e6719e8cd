"""What a request of OpenAI's API asks for beside sampling: how many answers, and which scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from inference.text.options import MOST_ALTERNATIVES, SamplingOptions
from serving.answers import GenerationRequest
from serving.errors import ApiError
from serving.loaded import Loaded
from serving.ollama.durations import float_of
from serving.openai.schemas import ChatCompletionRequest, CompletionRequest
from serving.prompts import Tokens, check_tokens
from serving.settings import Settings

_LARGEST_BIAS = 100
_NUMBER = re.compile(r"-?[0-9]{1,18}")


def prompts_of(prompt: Any) -> list[str | list[int]]:
    """The prompts of a completion: a text, token numbers, or a list of either.

    Raises:
        ApiError: 400 for anything else.
    """
    given = [prompt] if isinstance(prompt, str) or _are_tokens(prompt) else prompt
    if not isinstance(given, list) or not given:
        given = [None]
    if not all(isinstance(one, str) or _are_tokens(one) for one in given):
        raise ApiError(400, "prompt must be a string, token numbers, or a list of either")
    return given


def _are_tokens(prompt: Any) -> bool:
    return isinstance(prompt, list) and bool(prompt) and all(type(one) is int for one in prompt)


def tokens_as_given(ids: Sequence[int]) -> Tokens:
    """A prompt of token numbers, which no template is put around."""
    return lambda loaded: check_tokens(loaded, ids, "prompt")


def choices_of(
    asked: CompletionRequest | ChatCompletionRequest,
    prompts: Sequence[GenerationRequest],
    limits: Settings,
) -> list[GenerationRequest]:
    """``n`` requests for each prompt; those with a seed differ in it by one.

    Raises:
        ApiError: 400 for an ``n`` or ``best_of`` that is not possible, or too many answers.
    """
    count = 1 if asked.n is None else asked.n
    if count < 1:
        raise ApiError(400, "n must be at least 1")
    if isinstance(asked, CompletionRequest) and asked.best_of not in (None, count):
        raise ApiError(400, "best_of is not supported by this server; leave it out")
    most = limits.max_choices
    if count * len(prompts) > most:
        asks = f"n={count:,} of {len(prompts):,} prompts" if len(prompts) > 1 else f"n={count:,}"
        raise ApiError(400, f"{asks} is too many; {most} answers of one request are made")
    return [
        replace(prompt, options=_another(prompt.options, number))
        for prompt in prompts
        for number in range(count)
    ]


def _another(options: SamplingOptions, number: int) -> SamplingOptions:
    return options if options.seed is None else replace(options, seed=options.seed + number)


def scored(
    options: SamplingOptions, asked: CompletionRequest | ChatCompletionRequest
) -> SamplingOptions:
    """The options with the log-probabilities that are asked for.

    Raises:
        ApiError: 400 for a number that is not possible.
    """
    if isinstance(asked, CompletionRequest):
        count, field = asked.logprobs, "logprobs"
    else:
        count, field = asked.top_logprobs, "top_logprobs"
        if count is not None and not asked.logprobs:
            raise ApiError(400, "top_logprobs needs logprobs to be true")
        if asked.logprobs:
            count = count or 0
    if count is None:
        return options
    if not 0 <= count <= MOST_ALTERNATIVES:
        raise ApiError(400, f"{field} must be from 0 to {MOST_ALTERNATIVES}")
    echo = isinstance(asked, CompletionRequest) and bool(asked.echo)
    return replace(options, logprobs=count, score_prompt=echo)


def bias_of(
    given: Mapping[str, Any] | None, limits: Settings
) -> Callable[[Loaded], tuple[tuple[int, float], ...]] | None:
    """What ``logit_bias`` adds to tokens, which it names by number or as a text of one token.

    Raises:
        ApiError: 400 for too many tokens, or what is no number from -100 to 100.
    """
    if not given:
        return None
    if len(given) > limits.max_biases:
        most = limits.max_biases
        raise ApiError(400, f"logit_bias has {len(given):,} tokens; {most:,} are taken")
    for name, bias in given.items():
        number = isinstance(bias, int | float) and not isinstance(bias, bool)
        if not number or not abs(float_of(bias)) <= _LARGEST_BIAS:
            raise ApiError(
                400, f'logit_bias: the bias of "{name[:40]}" must be a number from -100 to 100'
            )

    def pairs(loaded: Loaded) -> tuple[tuple[int, float], ...]:
        return tuple((_token(loaded, name), float(bias)) for name, bias in given.items())

    return pairs


def _token(loaded: Loaded, name: str) -> int:
    if _NUMBER.fullmatch(name):
        return int(name)
    ids = loaded.tokens(name)
    if len(ids) != 1:
        raise ValueError(f'logit_bias: "{name[:40]}" is not one token of this model')
    return ids[0]
