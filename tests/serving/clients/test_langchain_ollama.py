"""LangChain through Ollama's API."""

import pytest

from tests.serving.clients.conftest import LEAVES_SOCKETS, QUESTION, TOKENS, Expected, Pet

langchain_ollama = pytest.importorskip("langchain_ollama", reason="needs the extra clients")
ollama = pytest.importorskip("ollama")

PACKAGE = "langchain-ollama"
pytestmark = LEAVES_SOCKETS


def _chat(expected: Expected, model: str = "json", **given):
    return langchain_ollama.ChatOllama(model=model, base_url=expected.url, **given)


def _greedy(expected: Expected):
    return _chat(expected, temperature=0, num_predict=TOKENS)


def test_chat(expected: Expected) -> None:
    assert _greedy(expected).invoke(QUESTION).content == expected.text


def test_stream(expected: Expected) -> None:
    pieces = [piece.content for piece in _greedy(expected).stream(QUESTION)]
    assert len(pieces) > 2
    assert "".join(pieces) == expected.text


def test_embeddings(expected: Expected) -> None:
    embeddings = langchain_ollama.OllamaEmbeddings(model="json", base_url=expected.url)
    assert embeddings.embed_documents([QUESTION, "a dog"]) == expected.vectors
    assert embeddings.embed_query(QUESTION) == pytest.approx(expected.vectors[0], abs=1e-6)


def test_schema(expected: Expected) -> None:
    chat = _chat(expected, seed=1).with_structured_output(Pet, method="json_schema")
    assert isinstance(chat.invoke(QUESTION), Pet)


def test_unknown_model(expected: Expected) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nobody' not found"):
        _chat(expected, "nobody").invoke(QUESTION)
