"""Bodies of Ollama's API."""

from typing import Any, ClassVar

from pydantic import Field

from serving.wire import Wire


class GenerateRequest(Wire):
    """POST /api/generate"""

    model: str | None = None
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    stream: bool | None = None
    raw: bool | None = None
    format: Any = None
    keep_alive: Any = None
    images: list[str] | None = None
    options: dict[str, Any] | None = None
    think: Any = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class Message(Wire):
    """One message of a conversation."""

    role: str | None = None
    content: str | None = None
    images: list[str] | None = None
    tool_calls: list[Any] | None = None
    tool_name: str | None = None
    thinking: str | None = None


class ChatRequest(Wire):
    """POST /api/chat"""

    model: str | None = None
    messages: list[Message] | None = None
    tools: list[Any] | None = None
    stream: bool | None = None
    format: Any = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None
    think: Any = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class ShowRequest(Wire):
    """POST /api/show; ``name`` is what older clients send."""

    model: str | None = None
    name: str | None = None
    verbose: bool | None = None
    options: dict[str, Any] | None = None


class CopyRequest(Wire):
    """POST /api/copy"""

    source: str | None = None
    destination: str | None = None


class DeleteRequest(Wire):
    """DELETE /api/delete; ``name`` is what older clients send."""

    model: str | None = None
    name: str | None = None


class EmbedRequest(Wire):
    """POST /api/embed"""

    model: str | None = None
    input: Any = None
    truncate: bool | None = None
    dimensions: int | None = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None


class EmbeddingsRequest(Wire):
    """POST /api/embeddings, which came before /api/embed"""

    model: str | None = None
    prompt: str | None = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None


class ClassifyRequest(Wire):
    """POST /api/classify: images in base64"""

    of_files: ClassVar[bool] = True

    model: str | None = None
    images: list[str] = Field(default_factory=list)
    keep_alive: Any = None
    seen: bool = False
