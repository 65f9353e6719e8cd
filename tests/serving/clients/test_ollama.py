"""The official ``ollama`` client."""

from collections.abc import Iterator

import ollama
import pytest

from tests.serving.clients.conftest import QUESTION, TOKENS, Expected, Pet

PACKAGE = "ollama"
ASKED = {"model": "json", "messages": [{"role": "user", "content": QUESTION}]}
GREEDY = {"temperature": 0, "num_predict": TOKENS}


@pytest.fixture
def client(expected: Expected) -> Iterator[ollama.Client]:
    with ollama.Client(host=expected.url) as client:
        yield client


def test_chat(client: ollama.Client, expected: Expected) -> None:
    assert client.chat(**ASKED, options=GREEDY).message.content == expected.text


def test_stream(client: ollama.Client, expected: Expected) -> None:
    pieces = [piece.message.content for piece in client.chat(**ASKED, options=GREEDY, stream=True)]
    assert len(pieces) > 2
    assert "".join(pieces) == expected.text


def test_embeddings(client: ollama.Client, expected: Expected) -> None:
    found = client.embed("json", [QUESTION, "a dog"]).embeddings
    assert found == expected.vectors


def test_schema(client: ollama.Client) -> None:
    answer = client.chat(**ASKED, format=Pet.model_json_schema(), options={"seed": 1})
    Pet.model_validate_json(answer.message.content or "")


def test_unknown_model(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nobody' not found") as found:
        client.chat(**ASKED | {"model": "nobody"})
    assert found.value.status_code == 404
