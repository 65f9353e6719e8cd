"""HTTP/1.0, which ``ab``, ``curl --http1.0`` and proxies of old speak."""

import json

import pytest

from tests.serving.conftest import Running, talk

ASKED = {"model": "tiny", "prompt": "the cat", "options": {"num_predict": 3, "seed": 3}}


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_to_http_1_0_has_no_chunks(server: Running, stream: bool) -> None:
    body = json.dumps(ASKED | {"stream": stream})
    head = f"POST /api/generate HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
    head, _, content = talk(server, (head + body).encode()).partition(b"\r\n\r\n")
    head = head.lower()
    assert head.startswith(b"http/1.1 200 ")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert (b"content-length" in head) is not stream
    lines = [json.loads(line) for line in content.splitlines()]
    assert (lines[-1]["done"], lines[-1]["eval_count"]) == (True, 3)
    assert (len(lines) > 1) is stream


def test_an_error_and_a_head_in_http_1_0(server: Running) -> None:
    body = json.dumps(ASKED | {"prompt": "xyz"})
    head = f"POST /api/generate HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = talk(server, (head + body).encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"vocabulary lacks" in answer
    answer = talk(server, b"HEAD /api/tags HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")
