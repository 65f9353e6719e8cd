"""Bodies of OpenAI's API, as far as Ollama takes them."""

from typing import Any

from serving.wire import Wire


class StreamOptions(Wire):
    """What a stream has besides text."""

    include_usage: bool | None = None


class CompletionRequest(Wire):
    """POST /v1/completions"""

    model: str | None = None
    prompt: Any = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: Any = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    logprobs: int | None = None
    logit_bias: dict[str, Any] | None = None
    suffix: str | None = None


class ChatMessage(Wire):
    """One turn; ``content`` is a string or a list of parts."""

    role: str | None = None
    content: Any = None


class ChatCompletionRequest(Wire):
    """POST /v1/chat/completions"""

    model: str | None = None
    messages: list[ChatMessage] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: Any = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    response_format: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    logprobs: bool | None = None
    logit_bias: dict[str, Any] | None = None
    tools: list[Any] | None = None
