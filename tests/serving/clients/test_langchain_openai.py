"""LangChain through OpenAI's API."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.serving.clients.conftest import LEAVES_SOCKETS, QUESTION, TOKENS, Expected, Pet

langchain_openai = pytest.importorskip("langchain_openai", reason="needs the extra clients")

PACKAGE = "langchain-openai"
pytestmark = LEAVES_SOCKETS


@pytest.fixture
def access(expected: Expected) -> Iterator[dict[str, Any]]:
    # Its own connections stay in a cache of the process.
    with httpx.Client() as http:
        where = {"base_url": f"{expected.url}/v1", "api_key": "none", "max_retries": 0}
        yield {"model": "json", "http_client": http, **where}


def _greedy(access: dict[str, Any]):
    return langchain_openai.ChatOpenAI(**access, temperature=0, max_tokens=TOKENS)


def test_chat(access: dict[str, Any], expected: Expected) -> None:
    assert _greedy(access).invoke(QUESTION).content == expected.text


def test_stream(access: dict[str, Any], expected: Expected) -> None:
    pieces = [piece.content for piece in _greedy(access).stream(QUESTION)]
    assert len(pieces) > 2
    assert "".join(pieces) == expected.text


def test_embeddings(access: dict[str, Any], expected: Expected) -> None:
    # Otherwise it sends the numbers of OpenAI's own tokens.
    embeddings = langchain_openai.OpenAIEmbeddings(**access, check_embedding_ctx_length=False)
    for row, vector in zip(
        embeddings.embed_documents([QUESTION, "a dog"]), expected.vectors, strict=True
    ):
        assert row == pytest.approx(vector, abs=1e-6)


def test_schema(access: dict[str, Any]) -> None:
    chat = langchain_openai.ChatOpenAI(**access, seed=1)
    assert isinstance(chat.with_structured_output(Pet).invoke(QUESTION), Pet)


def test_unknown_model(access: dict[str, Any]) -> None:
    with pytest.raises(openai.NotFoundError, match="model 'nobody' not found"):
        langchain_openai.ChatOpenAI(**access | {"model": "nobody"}).invoke(QUESTION)
