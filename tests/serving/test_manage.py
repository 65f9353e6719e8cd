"""Copying and deleting models, and whether they are ready."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import ollama
import pytest

from serving import loaded, store
from tests.serving.conftest import Running, serving, until

OPTIONS = {"num_predict": 5, "seed": 3}


@pytest.fixture
def own(models: Path, tmp_path: Path) -> Iterator[Running]:
    """A server that may write, over a folder of its own."""
    root = tmp_path / "models"
    for name in ("tiny", "half"):
        shutil.copytree(models / name, root / name)
    (root / "notes").mkdir()
    with serving(root, writable=True) as running:
        yield running


def _names(client: ollama.Client) -> list[str]:
    return sorted(model.model or "" for model in client.list().models)


def test_copy_and_delete(own: Running) -> None:
    with ollama.Client(host=own.url) as client:
        first = client.generate("tiny", "the cat", options=OPTIONS).response
        client.copy("tiny", "Other:latest")
        assert _names(client) == ["Other:latest", "tiny:latest"]
        assert client.generate("other", "the cat", options=OPTIONS).response == first
        digests = {model.digest for model in client.list().models}
        assert len(digests) == 1
        client.delete("OTHER")
        assert _names(client) == ["tiny:latest"]
        assert [model.model for model in client.ps().models] == ["tiny:latest"]
        client.delete("half")  # a damaged one can go, too
        assert not (own.models / "half").exists()
    # Nothing is left behind, and nothing else was touched.
    assert sorted(path.name for path in own.models.iterdir()) == ["notes", "tiny"]


@pytest.mark.parametrize(
    ("source", "destination", "status", "text"),
    [
        ("nobody", "other", 404, "model 'nobody' not found"),
        ("half", "other", 500, "it is not JSON"),
        ("tiny", "", 400, "destination '' is invalid"),
        ("tiny", "../other", 400, "destination '../other' is invalid"),
        ("tiny", ".hidden", 400, "is invalid"),
        ("tiny", "a" * 65, 400, "is invalid"),
        ("tiny", "other:int8", 400, "is invalid"),
        ("tiny", "TINY", 400, "there is a tiny already; delete it first"),
        ("tiny", "notes", 400, "there is a notes already"),
    ],
)
def test_copies_that_are_refused(
    own: Running, source: str, destination: str, status: int, text: str
) -> None:
    before = sorted(path.name for path in own.models.rglob("*"))
    asked = {"source": source, "destination": destination}
    answer = httpx.post(f"{own.url}/api/copy", json=asked)
    assert (answer.status_code, text in answer.json()["error"]) == (status, True)
    assert sorted(path.name for path in own.models.rglob("*")) == before


def test_a_running_answer_outlives_its_model(own: Running) -> None:
    asked = {"model": "tiny", "prompt": "the cat", "options": {"num_predict": 900, "seed": 1}}
    with httpx.stream("POST", f"{own.url}/api/generate", json=asked, timeout=60) as answer:
        rows = answer.iter_lines()
        next(rows)
        gone = httpx.request("DELETE", f"{own.url}/api/delete", json={"name": "tiny"})
        assert gone.status_code == 200
        *_, last = [json.loads(row) for row in rows]
    assert (last["done_reason"], last["eval_count"]) == ("length", 900)
    assert httpx.post(f"{own.url}/api/generate", json=asked).status_code == 404


def test_a_copy_that_fails_leaves_nothing(own: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path, **_: object) -> None:
        target.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.shutil, "copytree", full)
    answer = httpx.post(f"{own.url}/api/copy", json={"source": "tiny", "destination": "other"})
    assert (answer.status_code, "No space left" in answer.json()["error"]) == (500, True)
    assert sorted(path.name for path in own.models.iterdir()) == ["half", "notes", "tiny"]


def test_a_damaged_model_is_not_copied(own: Running) -> None:
    weights = next((own.models / "tiny").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    answer = httpx.post(f"{own.url}/api/copy", json={"source": "tiny", "destination": "other"})
    assert (answer.status_code, "it is damaged" in answer.json()["error"]) == (500, True)
    assert sorted(path.name for path in own.models.iterdir()) == ["half", "notes", "tiny"]


def test_a_link_is_deleted_and_not_what_it_leads_to(own: Running) -> None:
    (own.models / "also").symlink_to("tiny")
    answer = httpx.request("DELETE", f"{own.url}/api/delete", json={"model": "also"})
    assert answer.status_code == 200
    assert sorted(path.name for path in own.models.iterdir()) == ["half", "notes", "tiny"]


def test_it_is_off_unless_asked_for(server: Running) -> None:
    for method, path in (("POST", "copy"), ("DELETE", "delete")):
        answer = httpx.request(method, f"{server.url}/api/{path}", json={"model": "tiny"})
        assert answer.status_code == 403
        assert "serve --writable" in answer.json()["error"]
    assert (server.models / "tiny").is_dir()


def test_a_server_is_ready(own: Running) -> None:
    answer = httpx.get(f"{own.url}/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    shutil.rmtree(own.models)
    answer = httpx.get(f"{own.url}/readyz")
    assert (answer.status_code, "cannot be read" in answer.json()["status"]) == (503, True)


def test_a_model_is_ready_once_it_is_loaded(own: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    go, read = threading.Event(), loaded.load

    def slowly(*arguments):
        assert go.wait(30)
        return read(*arguments)

    monkeypatch.setattr("serving.registry.load", slowly)
    began = time.monotonic()
    answer = httpx.get(f"{own.url}/readyz/tiny")
    assert (answer.status_code, answer.json()) == (503, {"status": "loading"})
    assert time.monotonic() - began < 5
    go.set()
    until(lambda: httpx.get(f"{own.url}/readyz/tiny").status_code == 200)
    assert httpx.get(f"{own.url}/api/ps").json()["models"][0]["name"] == "tiny:latest"
    for name, status in (("nobody", 404), ("half", 500)):
        assert httpx.get(f"{own.url}/readyz/{name}").status_code == status


def test_a_probe_leaves_the_time_that_a_model_stays(own: Running) -> None:
    asked = {"model": "tiny", "keep_alive": -1}
    assert httpx.post(f"{own.url}/api/generate", json=asked).json()["done_reason"] == "load"
    assert httpx.get(f"{own.url}/readyz/tiny").status_code == 200
    assert httpx.get(f"{own.url}/api/ps").json()["models"][0]["expires_at"] > "2200"
