"""Bodies of Anthropic's API, as far as Ollama takes them."""

from typing import Any

from serving.wire import Wire


class MessageParam(Wire):
    """One message; ``content`` is a string or a list of blocks."""

    role: str | None = None
    content: Any = None


class CountTokensRequest(Wire):
    """POST /v1/messages/count_tokens"""

    model: str | None = None
    messages: list[MessageParam] | None = None
    system: Any = None
    tools: Any = None
    tool_choice: Any = None
    thinking: Any = None
    output_config: Any = None


class MessagesRequest(CountTokensRequest):
    """POST /v1/messages"""

    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    container: Any = None
    mcp_servers: Any = None
    context_management: Any = None
