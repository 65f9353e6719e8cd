"""The official ``openai`` client."""

from collections.abc import Iterator

import openai
import pytest

from tests.serving.clients.conftest import QUESTION, TOKENS, Expected, Pet

PACKAGE = "openai"
ASKED = {"model": "json", "messages": [{"role": "user", "content": QUESTION}]}
GREEDY = {"temperature": 0, "max_tokens": TOKENS}


@pytest.fixture
def client(expected: Expected) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{expected.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_chat(client: openai.OpenAI, expected: Expected) -> None:
    answer = client.chat.completions.create(**ASKED, **GREEDY)
    assert answer.choices[0].message.content == expected.text


def test_stream(client: openai.OpenAI, expected: Expected) -> None:
    chunks = client.chat.completions.create(**ASKED, **GREEDY, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert len(pieces) > 2
    assert "".join(pieces) == expected.text


def test_embeddings(client: openai.OpenAI, expected: Expected) -> None:
    found = client.embeddings.create(model="json", input=[QUESTION, "a dog"]).data
    for row, vector in zip(found, expected.vectors, strict=True):
        assert row.embedding == pytest.approx(vector, abs=1e-6)


def test_schema(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(**ASKED, response_format=Pet, seed=1)
    assert isinstance(answer.choices[0].message.parsed, Pet)


def test_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="model 'nobody' not found"):
        client.chat.completions.create(**ASKED | {"model": "nobody"})
