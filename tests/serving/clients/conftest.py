"""What every client is asked for, and what the server answers without a client in between."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import pytest
from pydantic import BaseModel, Field

from tests.serving.conftest import Running

QUESTION = "the cat"
TOKENS = 200  # of which the first are there long before the last, on a busy machine, too
# Of clients that nothing closes.
LEAVES_SOCKETS = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """What a client left open ends with its module, not in some other test."""
    yield
    gc.collect()


class Pet(BaseModel):
    """Short in every branch, so that an answer of random weights ends."""

    kind: Literal["cat", "dog"]
    lives: int = Field(ge=0, le=9)
    asleep: bool


@dataclass
class Expected:
    """Answers of Ollama's API, asked for with plain HTTP."""

    url: str
    text: str
    vectors: list[list[float]]


@pytest.fixture(scope="session")
def expected(server: Running) -> Expected:
    """The greedy answer to ``QUESTION`` by ``json``, and vectors of two texts."""
    body: dict[str, Any] = {"model": "json", "messages": [{"role": "user", "content": QUESTION}]}
    body |= {"stream": False, "options": {"temperature": 0, "num_predict": TOKENS}}
    with httpx.Client(base_url=server.url) as http:
        text = http.post("/api/chat", json=body).json()["message"]["content"]
        texts = {"model": "json", "input": [QUESTION, "a dog"]}
        vectors = http.post("/api/embed", json=texts).json()["embeddings"]
    assert len(text) == TOKENS
    return Expected(server.url, text, vectors)
