"""The backend of Open WebUI between a browser and our server, through both of our APIs."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.clients.conftest import QUESTION, TOKENS, Expected, Pet

OPEN_WEBUI = shutil.which("open-webui")
PACKAGE = "open-webui"
ASKED: dict[str, Any] = {
    "model": "json:latest",
    "messages": [{"role": "user", "content": QUESTION}],
}
# What its page sends to a model of Ollama's API.
GREEDY = {"options": {"temperature": 0, "num_predict": TOKENS}}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        OPEN_WEBUI is None,
        reason="open-webui is not on the PATH: pip install open-webui in an environment of its own",
    ),
]


@pytest.fixture(scope="module")
def webui(expected: Expected, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Its HTTP API, signed in, with our server as Ollama and as OpenAI."""
    place = tmp_path_factory.mktemp("webui")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "DATA_DIR": str(place),
        "HOME": str(place),
        "WEBUI_AUTH": "False",
        "WEBUI_SECRET_KEY": "of these tests alone",
        "OLLAMA_BASE_URL": expected.url,
        "OPENAI_API_BASE_URL": f"{expected.url}/v1",
        "OPENAI_API_KEY": "none",
        "RAG_EMBEDDING_ENGINE": "ollama",
        "RAG_EMBEDDING_MODEL": "json",
        "OFFLINE_MODE": "true",
        "HF_HUB_OFFLINE": "1",
    }
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(OPEN_WEBUI), "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (
        (place / "log").open("w") as log,
        subprocess.Popen(
            command, env=environment | settings, cwd=place, stdout=log, stderr=log
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        try:
            _wait(client, process, place / "log")
            signed = client.post("/api/v1/auths/signin", json={"email": "", "password": ""})
            client.headers["Authorization"] = f"Bearer {signed.json()['token']}"
            # It asks for the models once, and knows no others until then.
            client.get("/api/models").raise_for_status()
            yield client
        finally:
            process.kill()


def _wait(client: httpx.Client, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(1)
    raise AssertionError(log.read_text()[-3000:])


def test_chat(webui: httpx.Client, expected: Expected) -> None:
    answer = webui.post("/api/chat/completions", json=ASKED | GREEDY).json()
    assert answer["choices"][0]["message"]["content"] == expected.text
    answer = webui.post("/ollama/api/chat", json=ASKED | GREEDY | {"stream": False}).json()
    assert answer["message"]["content"] == expected.text
    asked = ASKED | {"temperature": 0, "max_tokens": TOKENS}
    answer = webui.post("/openai/chat/completions", json=asked).json()
    assert answer["choices"][0]["message"]["content"] == expected.text


def test_stream(webui: httpx.Client, expected: Expected) -> None:
    answer = webui.post("/api/chat/completions", json=ASKED | GREEDY | {"stream": True})
    rows = [row.removeprefix("data: ") for row in answer.text.splitlines() if row]
    assert rows.pop() == "[DONE]"
    deltas = [choice["delta"] for row in rows for choice in json.loads(row)["choices"]]
    pieces = [delta["content"] for delta in deltas if delta.get("content")]
    assert len(pieces) > 2
    assert "".join(pieces) == expected.text


def test_embeddings(webui: httpx.Client, expected: Expected) -> None:
    asked = {"model": ASKED["model"], "input": [QUESTION, "a dog"]}
    found = webui.post("/api/embeddings", json=asked).json()["data"]
    for row, vector in zip(found, expected.vectors, strict=True):
        assert row["embedding"] == pytest.approx(vector, abs=1e-6)


def test_schema(webui: httpx.Client) -> None:
    options = {"format": Pet.model_json_schema(), "seed": 1}
    answer = webui.post("/api/chat/completions", json=ASKED | {"options": options}).json()
    Pet.model_validate_json(answer["choices"][0]["message"]["content"])


def test_unknown_model(webui: httpx.Client) -> None:
    """It knows the models that the server lists, so the sentence is its own."""
    answer = webui.post("/ollama/api/chat", json=ASKED | {"model": "nobody"})
    assert (answer.status_code, answer.json()) == (400, {"detail": "Model 'nobody' was not found"})
