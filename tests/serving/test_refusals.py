"""Errors have the form of the API that a path belongs to, before its routes as well."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving.conftest import Running, serving, talk

Form = Callable[[str, str], dict]


def _ollama(text: str, kind: str) -> dict:
    return {"error": text}


def _openai(text: str, kind: str) -> dict:
    return {"error": {"message": text, "type": kind, "param": None, "code": None}}


def _anthropic(text: str, kind: str) -> dict:
    return {"type": "error", "error": {"type": kind, "message": text}}


FORMS = {
    "/api/chat": _ollama,
    "/v1/completions": _openai,
    "/v1/nowhere": _openai,
    "/v1/messages_too": _openai,
    "/tokenize": _openai,
    "/v1/messages": _anthropic,
    "/v1/messages/count_tokens": _anthropic,
    "/v1/messages/nowhere": _anthropic,
}


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.mark.parametrize(("path", "form"), FORMS.items())
def test_what_is_refused_before_a_route(http: httpx.Client, path: str, form: Form) -> None:
    page = http.post(path, headers={"origin": "https://evil.example"})
    text = "requests from pages of 'https://evil.example' are refused; serve --origins allows more"
    assert (page.status_code, page.json()) == (403, form(text, "permission_error"))
    host = http.post(path, headers={"host": "evil.example"})
    text = "the Host header does not name this machine"
    assert (host.status_code, host.json()) == (403, form(text, "permission_error"))


@pytest.mark.parametrize(("path", "form"), FORMS.items())
def test_what_is_too_large(server: Running, path: str, form: Form) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"
    answer = talk(server, head.encode())
    assert answer.startswith(b"HTTP/1.1 413 ")
    kind = "request_too_large" if form is _anthropic else "invalid_request_error"
    expected = form("the request is larger than 33,554,432 bytes", kind)
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == expected


@pytest.mark.parametrize(("path", "form"), FORMS.items())
def test_paths_and_methods_that_are_not_there(http: httpx.Client, path: str, form: Form) -> None:
    wrong = http.put(path)
    missing = "nowhere" in path or "too" in path
    status, text = (404, "404 page not found") if missing else (405, "405 method not allowed")
    assert wrong.status_code == status
    if not path.startswith("/v1/"):  # as Ollama
        assert wrong.text == text
        assert wrong.headers["content-type"].startswith("text/plain")
    else:
        kind = "not_found_error" if missing else "invalid_request_error"
        assert wrong.json() == form(text, kind)


@pytest.mark.parametrize(("path", "form"), FORMS.items())
def test_what_a_route_refuses(http: httpx.Client, path: str, form: Form) -> None:
    if "nowhere" in path or "too" in path:
        assert http.post(path).status_code == 404
        return
    for content, text in ((b"", "missing request body"), (b"[1]", "the body is not a JSON object")):
        answer = http.post(path, content=content)
        assert (answer.status_code, answer.json()) == (400, form(text, "invalid_request_error"))


def test_a_stream_that_fails_says_so_in_its_form(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [{"role": "user", "content": "the cat"}]
    asked = {
        "/api/generate": {"prompt": "the cat"},
        "/v1/chat/completions": {"messages": turns},
        "/v1/responses": {"input": "the cat"},
        "/v1/messages": {"messages": turns, "max_tokens": 90},
    }
    ends: dict[str, dict] = {}
    with serving(models) as server, httpx.Client(base_url=server.url, timeout=30) as http:
        http.post("/api/generate", json={"model": "tiny"})
        (loaded,) = server.server.app.state.server.registry.running()
        loop, step = loaded.batcher._loop, loaded.batcher._loop.step

        def fail_later() -> object:
            if any(len(generation.tokens) > 3 for _, generation in loop.active):
                raise RuntimeError("the device is lost")
            return step()

        monkeypatch.setattr(loop, "step", fail_later)
        for path, body in asked.items():
            answer = http.post(path, json={"model": "tiny", "stream": True} | body)
            assert answer.status_code == 200
            *_, last = [line for line in answer.text.splitlines() if line]
            ends[path] = json.loads(last.removeprefix("data: "))
    text = "the model failed: the device is lost"
    assert ends["/api/generate"] == _ollama(text, "api_error")
    assert ends["/v1/chat/completions"] == _openai(text, "api_error")
    assert ends["/v1/messages"] == _anthropic(text, "api_error")
    failed = ends["/v1/responses"]
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "server_error", "message": text}
