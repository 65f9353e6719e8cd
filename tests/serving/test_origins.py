"""Which pages may ask, and what their browsers are told before."""

from pathlib import Path

import httpx
import openai
import pytest
from starlette.datastructures import Headers

from serving.origins import Origins, preflight, read_origins
from tests.serving.conftest import Running, serving


def _accepted(more: str, origin: str, host: str = "127.0.0.1:11434") -> bool:
    headers = Headers({"origin": origin, "host": host})
    return Origins(read_origins(more)).refused(headers) is None


@pytest.mark.parametrize(
    "origin",
    [
        *("http://localhost", "http://localhost:3000", "HTTPS://LocalHost", "http://127.0.0.1:1"),
        *("https://0.0.0.0:8080", "http://[::1]:3000", "http://tauri.localhost"),
        *("app://obsidian.md", "file://", "tauri://localhost", "vscode-file://vscode-app"),
        "vscode-webview://0iqlg7ntb2b3tmm3bbiuqd4l9dtgql7g5hc9",
    ],
)
def test_pages_and_apps_of_this_machine(origin: str) -> None:
    assert _accepted("", origin)


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "null",
            "https://evil.example",
            "http://localhost.evil.example",
            "http://evil.localhost.de",
        ),
        *("http://localhost:3000.evil.example", "http://localhost@evil.example", "localhost"),
        *(
            "http://localhost:999999",
            "http://127.0.0.1.evil.example",
            "http://[",
            "",
            "://",
            "a" * 300,
        ),
        *("chrome-extension://abc", "app://a\x7fb", "app://\xe4", "http://app://a", "xapp://a"),
    ],
)
def test_pages_of_others(origin: str) -> None:
    assert not _accepted("", origin)


@pytest.mark.parametrize(
    ("more", "origin", "accepted"),
    [
        ("https://chat.example.org", "https://chat.example.org", True),
        ("https://Chat.example.org/", "https://chat.example.org", True),
        ("https://chat.example.org", "http://chat.example.org", False),
        ("https://chat.example.org", "https://chat.example.org:8443", False),
        ("https://chat.example.org:*", "https://chat.example.org:8443", True),
        ("https://*.example.org", "https://a.b.example.org", True),
        ("https://*.example.org", "https://example.org", False),
        ("https://*.example.org", "https://evil.org/.example.org", False),
        ("https://chatXexample.org", "https://chat.example.org", False),
        ("https://a.example , chrome-extension://*", "chrome-extension://abcdef", True),
        ("http://192.168.1.*", "http://192.168.1.7:3000", True),
        ("http://192.168.1.*", "http://192.168.17.7", False),
        ("*", "https://evil.example", True),
        ("*", "null", True),
        ("null", "null", True),
        (",", "https://evil.example", False),
    ],
)
def test_more_of_them(more: str, origin: str, accepted: bool) -> None:
    assert _accepted(more, origin) is accepted


def test_a_page_of_this_server_by_another_name() -> None:
    assert _accepted("", "https://models.example.org", host="models.example.org")
    assert not _accepted("", "https://models.example.org", host="models.example.org:8080")
    assert not _accepted("", "ftp://models.example.org", host="models.example.org")


@pytest.mark.parametrize("text", ["example.org", "https://", "https://a b", "https://a/path", "**"])
def test_what_is_not_an_origin(text: str) -> None:
    with pytest.raises(ValueError, match="is not an origin; write it as a browser sends it"):
        read_origins(text)


def test_a_browser_is_allowed_what_it_asks_for() -> None:
    names = "authorization, x-stainless-lang,x-stainless-retry-count, anthropic-version"
    asked = {"access-control-request-method": "DELETE", "access-control-request-headers": names}
    answer = preflight(Headers(asked))
    assert answer["Access-Control-Allow-Methods"] == "DELETE"
    assert answer["Access-Control-Allow-Headers"] == names
    assert "Access-Control-Request-Headers" in answer["Vary"]
    # What no browser sends is not said again.
    for odd in ("a b", "a\x7f", "a;b", "\xe4", ",", ""):
        asked = {"access-control-request-method": odd, "access-control-request-headers": odd}
        answer = preflight(Headers(asked))
        assert answer["Access-Control-Allow-Methods"].startswith("GET, POST")
        assert answer["Access-Control-Allow-Headers"].startswith("Authorization, Content-Type")


def test_all_headers_of_the_openai_package_pass(server: Running) -> None:
    sent: list[str] = []

    def note(request) -> None:
        sent.extend(name.lower() for name in request.headers)

    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    client._client.event_hooks["request"].append(note)
    client.models.list()
    client.close()
    assert any(name.startswith("x-stainless-") for name in sent)
    answer = httpx.options(
        f"{server.url}/v1/models",
        headers={
            "origin": "http://localhost:3000",
            "access-control-request-method": "GET",
            "access-control-request-headers": ",".join(sorted(sent)),
        },
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert set(answer.headers["access-control-allow-headers"].split(",")) == set(sent)


def test_a_page_that_was_allowed(models: Path) -> None:
    page = {"origin": "https://chat.example.org"}
    with serving(models, origins=("https://chat.example.org",)) as server:
        answer = httpx.get(f"{server.url}/v1/models", headers=page)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == page["origin"]
        other = httpx.get(f"{server.url}/v1/models", headers={"origin": "https://evil.example"})
        assert other.status_code == 403
        assert "serve --origins" in other.json()["error"]["message"]
