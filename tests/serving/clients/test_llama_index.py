"""LlamaIndex through Ollama's API."""

import pytest

from tests.serving.clients.conftest import LEAVES_SOCKETS, QUESTION, TOKENS, Expected, Pet

ours = "needs the extra clients"
llms = pytest.importorskip("llama_index.llms.ollama", reason=ours)
embeddings = pytest.importorskip("llama_index.embeddings.ollama", reason=ours)
core = pytest.importorskip("llama_index.core.llms", reason=ours)
ollama = pytest.importorskip("ollama")

PACKAGE = "llama-index-llms-ollama"
pytestmark = LEAVES_SOCKETS


def _llm(expected: Expected, model: str = "json", **options):
    return llms.Ollama(model, base_url=expected.url, additional_kwargs=options, context_window=96)


def _messages() -> list:
    return [core.ChatMessage(role="user", content=QUESTION)]


def test_chat(expected: Expected) -> None:
    llm = _llm(expected, temperature=0, num_predict=TOKENS)
    assert llm.chat(_messages()).message.content == expected.text


def test_stream(expected: Expected) -> None:
    llm = _llm(expected, temperature=0, num_predict=TOKENS)
    pieces = [piece.delta for piece in llm.stream_chat(_messages())]
    assert len(pieces) > 2
    assert "".join(piece or "" for piece in pieces) == expected.text


def test_embeddings(expected: Expected) -> None:
    embedder = embeddings.OllamaEmbedding("json", base_url=expected.url)
    found = embedder.get_text_embedding_batch([QUESTION, "a dog"])
    for row, vector in zip(found, expected.vectors, strict=True):
        assert row == pytest.approx(vector, abs=1e-6)


def test_schema(expected: Expected) -> None:
    answer = _llm(expected, seed=1).as_structured_llm(Pet).chat(_messages())
    assert isinstance(answer.raw, Pet)


def test_unknown_model(expected: Expected) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nobody' not found"):
        _llm(expected, "nobody").chat(_messages())
