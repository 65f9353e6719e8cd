"""Tokens and back, in llama.cpp's form."""

import httpx
import pytest

from serving.tokenize_routes import _piece
from tests.serving.conftest import Running


def test_tokens_and_back(server: Running) -> None:
    asked = {"model": "tiny", "content": "the cat"}
    tokens = httpx.post(f"{server.url}/tokenize", json=asked).json()["tokens"]
    assert len(tokens) == 7
    answer = httpx.post(f"{server.url}/detokenize", json={"model": "tiny", "tokens": tokens})
    assert answer.json() == {"content": "the cat"}
    asked["with_pieces"] = True
    assert httpx.post(f"{server.url}/tokenize", json=asked).json()["tokens"] == [
        {"id": token, "piece": piece} for token, piece in zip(tokens, "the cat", strict=True)
    ]
    asked["content"] = "the cat. " * 1000  # several parts of the answer
    long = httpx.post(f"{server.url}/tokenize", json=asked, timeout=30).json()["tokens"]
    assert "".join(entry["piece"] for entry in long) == asked["content"]
    empty = httpx.post(f"{server.url}/tokenize", json={"model": "tiny"})
    assert empty.json() == {"tokens": []}


def test_part_of_a_character_is_shown_as_bytes() -> None:
    assert [_piece(piece) for piece in ("é".encode(), b"\xc3", b"")] == ["é", [0xC3], ""]


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/tokenize", {"content": "a"}, "model is required"),
        ("/tokenize", {"model": "digits"}, "does not support tokenize"),
        ("/tokenize", {"model": "tiny", "content": "xyz"}, "vocabulary lacks"),
        ("/tokenize", {"model": "tiny", "parse_special": False}, "parse_special is not supported"),
        ("/detokenize", {"model": "tiny", "tokens": [19]}, "tokens holds tokens that this model"),
        ("/detokenize", {"model": "tiny", "tokens": [-1]}, "tokens holds tokens that this model"),
        ("/detokenize", {"model": "tiny", "tokens": ["a"]}, "tokens.0: Input should be a valid"),
        ("/tokenize", {"model": "tiny", "content": "a" * (2**20 + 1)}, "longer than 1,048,576"),
    ],
)
def test_what_is_refused(server: Running, path: str, body: dict, text: str) -> None:
    answer = httpx.post(server.url + path, json=body)
    assert (answer.status_code, text in answer.json()["error"]["message"]) == (400, True)
