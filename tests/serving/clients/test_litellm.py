"""LiteLLM through OpenAI's API and through Ollama's."""

from typing import Any

import pytest

from tests.serving.clients.conftest import LEAVES_SOCKETS, QUESTION, TOKENS, Expected, Pet

litellm = pytest.importorskip(
    "litellm",
    reason="needs LiteLLM in an environment of its own, without two pins of requirements.lock; "
    "docs/serving.md has the command",
)

PACKAGE = "litellm"
TURNS = [{"role": "user", "content": QUESTION}]
GREEDY = {"temperature": 0, "max_tokens": TOKENS}
pytestmark = [
    LEAVES_SOCKETS,
    # Pydantic about types of LiteLLM's own.
    pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning"),
    pytest.mark.parametrize("provider", ["openai", "ollama_chat"]),
]


@pytest.fixture
def access(expected: Expected, provider: str) -> dict[str, Any]:
    url = expected.url + ("/v1" if provider == "openai" else "")
    return {"api_base": url, "api_key": "none", "num_retries": 0, "max_retries": 0}


def test_chat(access: dict[str, Any], provider: str, expected: Expected) -> None:
    answer = litellm.completion(f"{provider}/json", TURNS, **GREEDY, **access)
    assert answer.choices[0].message.content == expected.text


def test_stream(access: dict[str, Any], provider: str, expected: Expected) -> None:
    chunks = litellm.completion(f"{provider}/json", TURNS, stream=True, **GREEDY, **access)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert len(pieces) > 2
    assert "".join(pieces) == expected.text


def test_embeddings(access: dict[str, Any], provider: str, expected: Expected) -> None:
    name = f"{provider.removesuffix('_chat')}/json"
    found = litellm.embedding(name, input=[QUESTION, "a dog"], **access).data
    for row, vector in zip(found, expected.vectors, strict=True):
        assert row["embedding"] == pytest.approx(vector, abs=1e-6)


def test_schema(access: dict[str, Any], provider: str) -> None:
    answer = litellm.completion(
        f"{provider}/json", TURNS, response_format=Pet, seed=1, max_tokens=200, **access
    )
    Pet.model_validate_json(answer.choices[0].message.content)


def test_unknown_model(access: dict[str, Any], provider: str) -> None:
    with pytest.raises(litellm.NotFoundError, match="model 'nobody' not found") as found:
        litellm.completion(f"{provider}/nobody", TURNS, **access)
    assert found.value.status_code == 404
