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
    """One message; ``content`` is a string or a list of parts."""

    role: str | None = None
    content: Any = None
    tool_calls: Any = None
    function_call: Any = None


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
    top_logprobs: int | None = None
    logit_bias: dict[str, Any] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: Any = None
    function_call: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None
    modalities: Any = None
    audio: Any = None
    web_search_options: Any = None
    store: Any = None


class EmbeddingRequest(Wire):
    """POST /v1/embeddings; ``input`` is a string, token numbers, or a list of either."""

    model: str | None = None
    input: Any = None
    encoding_format: str | None = None
    dimensions: int | None = None


class ResponseRequest(Wire):
    """POST /v1/responses; ``input`` is a string or a list of messages."""

    model: str | None = None
    input: Any = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    text: dict[str, Any] | None = None
    truncation: str | None = None
    metadata: dict[str, Any] | None = None
    stream: bool | None = None
    previous_response_id: Any = None
    conversation: Any = None
    prompt: Any = None
    store: Any = None
    background: Any = None
    tools: Any = None
    tool_choice: Any = None
    reasoning: Any = None
    include: Any = None
    top_logprobs: Any = None
    moderation: Any = None
    context_management: Any = None
