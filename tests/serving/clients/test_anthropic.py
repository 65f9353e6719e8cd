"""The official ``anthropic`` client; the API has no embeddings, the server no schemas for it."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.serving.clients.conftest import QUESTION, TOKENS, Expected

PACKAGE = "anthropic"
ASKED: dict[str, Any] = {
    "model": "json",
    "messages": [{"role": "user", "content": QUESTION}],
    "max_tokens": TOKENS,
}
# The package has no argument for the temperature since its version 2.
GREEDY = {"temperature": 0}


@pytest.fixture
def client(expected: Expected) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=expected.url, api_key="none", max_retries=0) as client:
        yield client


def test_chat(client: anthropic.Anthropic, expected: Expected) -> None:
    answer = client.messages.create(**ASKED, extra_body=GREEDY)
    assert answer.content[0].text == expected.text


def test_stream(client: anthropic.Anthropic, expected: Expected) -> None:
    with client.messages.stream(**ASKED, extra_body=GREEDY) as stream:
        pieces = list(stream.text_stream)
    assert len(pieces) > 2
    assert "".join(pieces) == expected.text


def test_unknown_model(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="nobody"):
        client.messages.create(**ASKED | {"model": "nobody"})
