"""Who gets in, what is too large, and what the log says."""

import hmac
import json
import logging
import socket
import time
from pathlib import Path

import httpx
import pytest

from serving.settings import Settings, read_keys
from tests.serving.conftest import Running, serving

KEY = "a-key-of-16-letters"
SECRET = "the cat sat on a secret"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:11434", 200),
        ("[::1]:80", 200),
        ("my.localhost", 200),
        ("192.168.1.7", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("8.8.8.8", 403),
        ("[bad", 403),
    ],
)
def test_the_host_header_must_name_this_machine(server: Running, host: str, status: int) -> None:
    answer = httpx.get(f"{server.url}/api/tags", headers={"host": host})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("app://obsidian.md", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("null", False),
        ("http://[", False),
    ],
)
def test_pages_of_other_machines_are_refused(server: Running, origin: str, allowed: bool) -> None:
    headers = {"origin": origin}
    answer = httpx.post(f"{server.url}/api/show", json={"model": "tiny"}, headers=headers)
    assert answer.status_code == (200 if allowed else 403)
    assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
    before = httpx.options(f"{server.url}/api/show", headers=headers)
    assert before.status_code == (204 if allowed else 403)


def test_a_key_is_asked_for_everywhere_but_for_health(models: Path) -> None:
    with serving(models, keys=(KEY, KEY[::-1])) as server, httpx.Client() as client:
        for path in ("/", "/api/tags", "/metrics", "/docs", "/nowhere", "/readyz/tiny"):
            answer = client.get(server.url + path)
            assert (answer.status_code, answer.json()) == (401, {"error": "unauthorized"})
        answer = client.get(f"{server.url}/v1/models")
        assert (answer.status_code, answer.json()["error"]["message"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/healthz", "/readyz"):
            assert client.get(server.url + path).status_code == 200
        assert client.get(f"{server.url}/api/tags", headers={"x-api-key": KEY}).status_code == 200
        assert client.get(f"{server.url}/api/tags", headers={"x-api-key": ""}).status_code == 401
        for value, status in (
            (f"Bearer {KEY}", 200),
            (f"bearer {KEY[::-1]}", 200),
            (f"Bearer {KEY}x", 401),
            ("Bearer", 401),
            (f"Basic {KEY}", 401),
            (KEY, 401),
        ):
            headers = {"authorization": value}
            assert client.get(f"{server.url}/api/tags", headers=headers).status_code == status
        raw = b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \xff\xfe\r\n\r\n"
        assert b" 401 " in _talk(server, raw)


def test_keys_are_compared_in_constant_time(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hmac, and all of them in any case: the time does not tell which one was near."""
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def watch(given: bytes, key: bytes) -> bool:
        compared.append((given, key))
        return compare(given, key)

    monkeypatch.setattr(hmac, "compare_digest", watch)
    keys = (KEY, KEY[::-1], KEY.upper())
    near = f"{KEY[:-1]}x"
    with serving(models, keys=keys) as server:
        for headers, tokens in (
            ({"authorization": f"Bearer {KEY}"}, (KEY, "")),
            ({"authorization": f"Bearer {near}", "x-api-key": KEY}, (near, KEY)),
            ({"authorization": f"Basic {KEY}"}, ("", "")),
        ):
            compared.clear()
            httpx.get(f"{server.url}/api/tags", headers=headers)
            assert compared == [(token.encode(), key.encode()) for token in tokens for key in keys]


def _talk(server: Running, content: bytes, seconds: float = 5) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        connection.sendall(content)
        return connection.recv(4096)


def test_bodies_are_bounded_in_size_and_time(models: Path) -> None:
    with serving(models, max_body=2000, body_seconds=0.5, max_prompt=500) as server:
        url = f"{server.url}/api/generate"
        large = {"model": "tiny", "prompt": "a" * 3000}
        answer = httpx.post(url, json=large)
        assert (answer.status_code, list(answer.json())) == (413, ["error"])
        parts = (b"x" * 500 for _ in range(6))
        assert httpx.post(url, content=parts).status_code == 413
        long = httpx.post(url, json=large | {"prompt": "a" * 600})
        assert (long.status_code, "longer than 500 characters" in long.text) == (400, True)
        began = time.monotonic()
        head = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
        assert b" 408 " in _talk(server, head)
        assert time.monotonic() - began < 4
        assert httpx.get(f"{server.url}/api/tags").status_code == 200


def test_large_pictures_are_refused_one_by_one(models: Path) -> None:
    with serving(models, max_image=100) as server:
        body = {"model": "digits", "images": ["YQ==", "YWFh" * 100]}
        results = httpx.post(f"{server.url}/api/classify", json=body).json()["results"]
        assert results[1] == {"error": "the picture has more than 100 bytes"}


@pytest.mark.parametrize(
    "name", ["../secret", "..", ".", "/etc", "tiny/../../secret", "a\0b", "%2e%2e/secret", "", "~"]
)
def test_names_do_not_leave_the_folder(server: Running, name: str) -> None:
    outside = server.models.parent / "secret"
    outside.mkdir(exist_ok=True)
    (outside / "manifest.json").write_text("{}")
    for path in ("/api/show", "/api/generate", "/api/chat", "/api/embed", "/api/classify"):
        body = {"model": name, "images": ["YQ=="], "input": "a", "messages": []}
        answer = httpx.post(server.url + path, json=body)
        assert answer.status_code in (400, 404)
        assert "secret" not in answer.text.replace(name, "")


def test_the_log_has_no_text_of_requests(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        body = {"model": "tiny", "prompt": SECRET, "options": {SECRET * 3: 1, "num_predict": 3}}
        httpx.post(f"{server.url}/api/generate", content=json.dumps(body))
        httpx.get(f"{server.url}/{SECRET}?a={SECRET}")
        httpx.post(f"{server.url}/api/generate", content=json.dumps(body)[:-3])
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith(("http", "asyncio"))]
    assert any(line.startswith("POST /api/generate 200 ") for line in ours)
    assert any(line.startswith("GET - 404 ") for line in ours)
    assert not any(SECRET in line for line in ours)


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# of the door\n  # a comment of sixteen characters\n\t{KEY} \n\n")
    with pytest.raises(ValueError, match="chmod 600"):
        read_keys(path)
    path.chmod(0o600)
    assert read_keys(path) == (KEY,)
    for content, message in (("", "holds no key"), ("short", "16 characters"), ("ä" * 20, "ASCII")):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            read_keys(path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_keys(tmp_path / "none")


def test_settings(tmp_path: Path) -> None:
    for host, loopback in (("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("a", False)):
        assert Settings(tmp_path, host).loopback == loopback
    with pytest.raises(ValueError, match="slots must be at least 1"):
        Settings(tmp_path, slots=0)
    with pytest.raises(ValueError, match="is not a folder"):
        Settings(tmp_path / "none")
    (tmp_path / "mini_gpt").mkdir()
    (tmp_path / "mini_gpt" / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match=f"folder above it: gpu-learning serve {tmp_path}$"):
        Settings(tmp_path / "mini_gpt")
