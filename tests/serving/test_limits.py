"""Each limit of a request: what is beyond it is refused by name, before anything is made of it."""

import contextlib
import json
import logging
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.settings import Settings
from tests.serving.conftest import Running, describe, serving, talk, until

LIMITS = Settings(Path())
TINY = {"model": "tiny", "prompt": "a"}
GET = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def _chat(count: int) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{}] * count}


def _with(count: int, **fields: Any) -> dict[str, Any]:
    options = {f"a secret {number}": 1 for number in range(count)}
    return TINY | fields | {"options": options}


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/api/generate", TINY | {"template": "a" * 8193}, "the template is longer than 8,192"),
        ("/api/generate", TINY | {"template": "{{ .X }}"}, "the template has {{ .X }}, which"),
        (
            "/api/generate",
            TINY | {"template": "{{ .Prompt }}" * 600, "prompt": "a" * 10**6},
            "longer",
        ),
        ("/api/chat", _chat(10_001), "10,001 messages are too many; 10,000 are taken"),
        ("/v1/chat/completions", _chat(10_001), "10,001 messages are too many"),
        (
            "/v1/chat/completions",
            {"model": "tiny", "messages": [{"content": [{}] * 10_001}]},
            "10,001 parts of a message are too many; 10,000 are taken",
        ),
        ("/api/embed", {"model": "tiny", "input": ["a"] * 513}, "513 inputs are too many; 512 are"),
        ("/api/embed", {"model": "tiny", "input": ["a" * 10**6] * 2}, "more than 1,048,576"),
        ("/api/generate", _with(101), "101 options are too many; 100 are taken"),
        ("/api/generate", TINY | {"options": {"stop": ["a"] * 65}}, "at most 64 stop strings"),
        ("/v1/completions", TINY | {"stop": ["a" * 1025]}, "stop strings of 1,024 characters"),
        ("/api/generate", TINY | {"format": [1] * 100_001}, "more than 100,000 values"),
        (
            "/v1/completions",
            TINY | {"logit_bias": {"a": [1] * 100_001}},
            "more than 100,000 values",
        ),
        ("/api/generate", TINY | {"prompt": "a" * (2**20 + 1)}, "longer than 1,048,576 characters"),
    ],
)
def test_refusals_name_the_limit(http: httpx.Client, path: str, body: dict, text: str) -> None:
    answer = http.post(path, json=body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert text in (error["message"] if path.startswith("/v1/") else error)


def test_what_looks_like_many_values_but_is_text(http: httpx.Client) -> None:
    prompt = 'a, [ {" \\' * 50_000
    answer = http.post("/api/generate", json={"model": "tiny", "prompt": prompt})
    assert "vocabulary lacks" in answer.json()["error"]
    deep = b'{"model":"tiny","prompt":"a","stream":false,"format":%b}'
    answer = http.post("/api/generate", content=deep % (b"[" * 63 + b"]" * 63))
    assert "invalid format" in answer.json()["error"]
    answer = http.post("/api/generate", content=deep % (b"[" * 64 + b"]" * 64))
    assert answer.json() == {"error": "the JSON has more than 64 brackets in one another"}


def test_names_and_paths_in_errors_are_short(http: httpx.Client, server: Running) -> None:
    answer = http.post("/api/show", json={"model": "x" * 10**6})
    assert answer.status_code == 404
    assert len(answer.text) < 400
    for model in ("broken", "half"):
        answer = http.post("/api/generate", json=TINY | {"model": model})
        assert answer.status_code == 500
        assert "export the model again" in answer.text
        assert str(server.models.parent) not in answer.text


@pytest.mark.parametrize(
    ("content", "status", "text"),
    [
        (GET + b"a: b\r\n" * 100 + b"\r\n", 431, "more than 100 headers"),
        (GET + b"a: " + b"b" * 16_384 + b"\r\n\r\n", 431, "larger than 16,384 bytes"),
        (GET + b"a: " + b"b" * 300_000, 431, "larger than 16,384 bytes"),
        (b"GET /" + b"a" * 16_384 + b" HTTP/1.1\r\n\r\n", 431, "larger than 16,384 bytes"),
        (b"GET /" + b"a" * 300_000, 431, "larger than 16,384 bytes"),
        (b"nonsense\r\n\r\n", 400, "Invalid HTTP request"),
    ],
)
def test_heads_are_bounded(server: Running, content: bytes, status: int, text: str) -> None:
    answer = talk(server, content).decode()
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert text in answer


def test_a_head_within_the_limits(http: httpx.Client) -> None:
    headers = {f"a{number}": "b" * 100 for number in range(90)}
    for _ in range(3):  # on one connection
        assert http.get("/api/version", headers=headers).status_code == 200


def test_slow_heads_and_bodies_behind_their_answer_are_cut_off(models: Path) -> None:
    with serving(models, head_seconds=0.5, body_seconds=0.1) as server:
        for start, status in ((GET, b" 408 "), (b"", b""), (b"\r\n", b"")):
            began = time.monotonic()
            answer = talk(server, start)
            assert status in answer[:20]
            assert 0.4 < time.monotonic() - began < 2
        # What drips in does not buy more time.
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            began = time.monotonic()
            connection.sendall(GET)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                while time.monotonic() - began < 4:
                    connection.sendall(b"a")
                    time.sleep(0.05)
            assert time.monotonic() - began < 2


def test_trailers_are_bounded(server: Running) -> None:
    start = (
        b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: "
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(start)
        sent = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < 1 << 20:
                sent += connection.send(b"b" * 5000)
                time.sleep(0.02)
    assert sent < 200_000


def test_large_bodies_at_once_are_bounded_and_small_ones_pass(models: Path) -> None:
    with serving(models, max_bodies=3 << 20, max_body=4 << 20, body_seconds=5.0) as server:
        head = b"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port)) as holds:
            holds.sendall(head + b" " * 2_500_000)
            until(lambda: server.server.app.state.server.metrics.in_flight == 1)
            large = b" " * 2_000_000
            until(
                lambda: httpx.post(f"{server.url}/api/classify", content=large).status_code == 503
            )
            assert httpx.post(f"{server.url}/api/generate", json=TINY).status_code == 200
        until(lambda: httpx.post(f"{server.url}/api/classify", content=large).status_code == 400)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_nobody_reads_is_given_up(models: Path, stream: bool) -> None:
    path, body = "embed", {"model": "tiny", "input": ["a"] * 512}
    if stream:
        path, body = "generate", TINY | {"options": {"num_predict": 900, "num_ctx": 96}}
    content = json.dumps(body).encode()
    head = f"POST /api/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}"
    with serving(models, stall_seconds=0.5) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(("127.0.0.1", server.port))
        connections = server.server.server_state.connections
        until(lambda: len(connections) == 1)
        transport = next(iter(connections)).transport
        kernel = transport.get_extra_info("socket")
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for _ in range(3):
            connection.sendall(f"{head}\r\n\r\n".encode() + content)
        until(lambda: not connections)
        until(lambda: server.server.app.state.server.metrics.in_flight == 0, seconds=2)


def test_metrics_quote_names(models: Path, tmp_path: Path) -> None:
    root = tmp_path / "models"
    name = 'a"b\\c\nd'
    shutil.copytree(models / "tiny", root / name)
    with serving(root) as server, httpx.Client(base_url=server.url) as client:
        assert client.post("/api/generate", json=TINY | {"model": name}).status_code == 200
        rows = client.get("/metrics").text.splitlines()
        assert any(r'{kind="prompt",model="a\"b\\c\nd"}' in row for row in rows)
        assert all(row.startswith(("#", "gpu_learning_")) for row in rows)


def test_folders_that_lead_out_are_left_out(models: Path, tmp_path: Path) -> None:
    root, outside = tmp_path / "models", tmp_path / "outside"
    shutil.copytree(models / "tiny", outside)
    shutil.copytree(models / "tiny", root / "linked")
    (root / "linked" / "manifest.json").unlink()
    (root / "linked" / "manifest.json").symlink_to(outside / "manifest.json")
    shutil.copytree(models / "tiny", root / "deep")
    describe(root / "deep", labels=json.loads("[" * 500 + "]" * 500))
    shutil.copytree(models / "tiny", root / "good")
    odd = root / b"odd\xff".decode("utf-8", "surrogateescape")
    shutil.copytree(models / "tiny", odd)
    with serving(root) as server, httpx.Client(base_url=server.url) as client:
        for path in ("/api/tags", "/v1/models"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert "good" in answer.text
            assert "linked" not in answer.text
        answer = client.post("/api/show", json={"model": "linked"})
        assert (answer.status_code, "is a link" in answer.text) == (500, True)
        assert str(tmp_path) not in answer.text


def test_the_charset_of_a_form_changes_nothing(http: httpx.Client) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    form = part % (b"model", b"digits") + part % (b"images", b"no picture") + b"--x--\r\n"
    for charset in ("utf-8", "undefined", "unicode_escape", "idna", "rot13", "\xff", "zip"):
        kind = f"multipart/form-data; boundary=x; charset={charset}".encode("latin-1")
        answer = http.post("/api/classify", content=form, headers={"content-type": kind})
        assert answer.status_code == 200
        assert "not an image that can be read" in answer.json()["results"][0]["error"]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (b"", "has no end"),
        (b"--x\r\n\r\n\r\na\r\n--x--", "a part has no name"),
        (b"--x\r\n" + b"a: b\r\n" * 300 + b"\r\n\r\n--x--", "no name in its first 1,024 bytes"),
        (b"--x\r\n" * 1000, "more than 64 files and 8 fields"),
        (
            b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\n\r\n' * 65 + b"--x--",
            "65 im",
        ),
    ],
)
def test_forms_that_cannot_be_read(http: httpx.Client, form: bytes, text: str) -> None:
    headers = {"content-type": 'multipart/form-data; boundary="x"'}
    answer = http.post("/api/classify", content=form, headers=headers)
    assert (answer.status_code, text in answer.json()["error"]) == (400, True)


def test_a_request_is_one_line_of_the_log(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="serving"):
        httpx.post(f"{server.url}/api/generate", json=_with(99))
        httpx.post(f"{server.url}/api/generate", json=_with(10_000))
        httpx.get(f"{server.url}/{'a' * 10_000}")
        until(lambda: len(caplog.records) >= 4)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4  # one more for options that are not known
    assert max(map(len, lines)) < 100
    assert "secret" not in "".join(lines)
