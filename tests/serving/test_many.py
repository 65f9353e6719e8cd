"""Many clients on one model: none lost, none mixed up, none held back by another."""

import asyncio
import gc
import json
import shutil
import socket
import threading
import time
import weakref
from pathlib import Path

import httpx
import pytest

from inference.text.engine import DecodeEngine
from tests.serving.conftest import Running, describe, serving, until

ENDLESS = {"model": "tiny", "prompt": "the cat", "options": {"num_predict": 10**6, "num_ctx": 96}}


def _asked(seed: int) -> dict:
    options = {"num_predict": 10 + seed % 30, "seed": seed, "temperature": seed % 3 / 2}
    return {"model": "tiny", "prompt": ("the cat", "a dog")[seed % 2], "options": options}


def _text(answer: httpx.Response) -> str:
    assert answer.status_code == 200
    rows = [json.loads(row) for row in answer.text.splitlines()]
    assert rows[-1]["done"]
    return "".join(row["response"] for row in rows)


def test_a_hundred_streams_at_once_are_each_as_if_alone(models: Path) -> None:
    async def together(url: str) -> list[str]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            calls = (client.post("/api/generate", json=_asked(seed)) for seed in range(100))
            return [_text(answer) for answer in await asyncio.gather(*calls)]

    with serving(models, slots=16) as server, httpx.Client(base_url=server.url) as client:
        found = asyncio.run(together(server.url))
        alone = [_text(client.post("/api/generate", json=_asked(seed))) for seed in range(100)]
        assert found == alone
        batcher = server.server.app.state.server.registry.running()[0].batcher
        until(lambda: (batcher.active, batcher.waiting) == (0, 0))


def _open(server: Running, body: dict) -> socket.socket:
    """A request whose answer is read by hand, with small buffers."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect(("127.0.0.1", server.port))
    content = json.dumps(body).encode()
    head = f"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
    connection.sendall(head.encode() + b"\r\n" + content)
    return connection


def _batcher(server: Running):
    return server.server.app.state.server.registry.running()[0].batcher


def test_a_client_that_goes_away_frees_its_slot(models: Path) -> None:
    with serving(models, slots=1, max_queue=1) as server, httpx.Client() as client:
        url = f"{server.url}/api/generate"
        running = _open(server, ENDLESS)
        until(lambda: b"response" in running.recv(300))
        batcher = _batcher(server)
        waiting = _open(server, ENDLESS)
        until(lambda: batcher.waiting == 1)
        refused = client.post(url, json=ENDLESS)
        assert refused.status_code == 503
        text = "server busy, please try again.  maximum pending requests exceeded"
        assert refused.json() == {"error": text}
        openai = client.post(f"{server.url}/v1/completions", json={"model": "tiny", "prompt": "a"})
        assert (openai.status_code, openai.json()["error"]["message"]) == (503, text)
        waiting.close()
        until(lambda: batcher.waiting == 0)
        assert batcher.active == 1
        request = next(iter(batcher._requests.values()))
        running.close()
        began = time.monotonic()
        until(lambda: request.done)
        assert time.monotonic() - began < 2
        assert request.generation.reason == "cancelled"
        # One that does not stream is ended, too.
        whole = _open(server, ENDLESS | {"stream": False})
        until(lambda: batcher.active == 1)
        whole.close()
        until(lambda: batcher.active == 0)
        assert _text(client.post(url, json=_asked(1)))


def test_a_slow_reader_holds_nobody_and_is_given_up(models: Path) -> None:
    with serving(models, slots=2, stall_seconds=2.0, max_tokens=100_000) as server:
        endless = {"num_predict": 60_000, "num_ctx": 96, "seed": 1}
        slow = _open(server, ENDLESS | {"options": endless})
        until(lambda: b"response" in slow.recv(200))
        with httpx.Client(base_url=server.url) as client:
            rounds = []
            for seed in range(3):
                began = time.monotonic()
                assert _text(client.post("/api/generate", json=_asked(seed)))
                rounds.append(time.monotonic() - began)
            assert min(rounds) < 1
        until(lambda: not _batcher(server).active)
        slow.close()


def test_what_takes_too_long_ends_with_an_error(models: Path) -> None:
    with (
        serving(models, answer_seconds=0.3, max_tokens=100_000) as server,
        httpx.Client() as client,
    ):
        long = {"num_predict": 900, "num_ctx": 96}
        answer = client.post(f"{server.url}/api/generate", json=ENDLESS | {"options": long})
        assert answer.status_code == 200
        *rows, last = [json.loads(row) for row in answer.text.splitlines()]
        assert rows
        assert last == {"error": "the answer took longer than 0 s"}


def test_a_failing_step_is_told_in_the_stream_and_the_next_answer_is_right(models: Path) -> None:
    with serving(models) as server, httpx.Client(base_url=server.url) as client:
        right = _text(client.post("/api/generate", json=_asked(3)))
        engine = _batcher(server).generator.engine
        step, steps = engine.step, 0

        def break_once():
            nonlocal steps
            steps += 1
            if steps == 9:
                raise RuntimeError("the device is on fire")
            return step()

        engine.step = break_once
        rows = client.post("/api/generate", json=_asked(3)).text.splitlines()
        assert json.loads(rows[-1]) == {"error": "the model failed: the device is on fire"}
        engine.step = break_once
        steps = 8
        answer = client.post("/api/generate", json=_asked(3) | {"stream": False})
        assert (answer.status_code, list(answer.json())) == (500, ["error"])
        assert _text(client.post("/api/generate", json=_asked(3))) == right


def test_models_that_change_on_the_disk(models: Path, tmp_path: Path) -> None:
    root = tmp_path / "models"
    shutil.copytree(models / "tiny", root / "tiny")
    shutil.copytree(models / "tiny", root / "other")
    (root / "linked").symlink_to(models / "tiny")
    for name, target in (("loop", "loop"), ("ping", "pong"), ("pong", "ping")):
        (root / name).symlink_to(target)
    with serving(root) as server, httpx.Client(base_url=server.url) as client:
        text = _text(client.post("/api/generate", json=_asked(3)))
        running = _open(server, ENDLESS)
        until(lambda: b"response" in running.recv(300))
        shutil.rmtree(root / "tiny")  # deleted while it runs
        assert client.post("/api/generate", json=_asked(3)).status_code == 404
        until(lambda: b"response" in running.recv(300))
        running.close()
        assert _text(client.post("/api/generate", json=_asked(3) | {"model": "other"})) == text
        # Exported again: the new one answers, without a restart.
        describe(root / "other", prompt_template="a {question} a")
        assert _text(client.post("/api/generate", json=_asked(3) | {"model": "other"})) != text
        (root / "other" / "manifest.json").write_text("damaged")
        answer = client.post("/api/generate", json=_asked(3) | {"model": "other"})
        assert (answer.status_code, "export the model again" in answer.text) == (500, True)
        for link in ("linked", "loop", "ping"):
            assert client.post("/api/show", json={"model": link}).status_code == 404
        assert client.get("/v1/models").status_code == 200
        shutil.copytree(models / "tiny", root / "tiny")
        assert _text(client.post("/api/generate", json=_asked(3))) == text
        assert [model["name"] for model in client.get("/api/tags").json()["models"]] == [
            "tiny:latest"
        ]


def test_an_idle_model_makes_room_and_a_busy_one_does_not(models: Path) -> None:
    with serving(models, max_loaded=1) as server, httpx.Client(base_url=server.url) as client:
        _text(client.post("/api/generate", json=_asked(1)))
        _text(client.post("/api/generate", json=_asked(1) | {"model": "talk"}))
        loaded = [model["name"] for model in client.get("/api/ps").json()["models"]]
        assert loaded == ["talk:latest"]
        running = _open(server, ENDLESS | {"model": "talk", "options": {"stop": []}})
        until(lambda: b"response" in running.recv(300))
        refused = client.post("/api/generate", json=_asked(1))
        assert (refused.status_code, "server busy" in refused.text) == (503, True)
        until(lambda: b"response" in running.recv(300))
        running.close()
        until(lambda: client.post("/api/generate", json=_asked(1)).status_code == 200)


def test_a_keep_alive_of_nothing_lets_go_after_every_answer(models: Path) -> None:
    with serving(models, keep_alive=0.0) as server, httpx.Client(base_url=server.url) as client:
        assert _text(client.post("/api/generate", json=_asked(1)))
        until(lambda: client.get("/api/ps").json() == {"models": []})
        kept = _asked(1) | {"keep_alive": "1m"}
        assert _text(client.post("/api/generate", json=kept))
        assert len(client.get("/api/ps").json()["models"]) == 1


def test_shutting_down_ends_streams_with_a_line(models: Path) -> None:
    lines: list[str] = []
    with serving(models, grace_seconds=1.0, max_tokens=10**6) as server:

        def listen() -> None:
            options = {"num_predict": 10**6, "num_ctx": 96}
            body = ENDLESS | {"options": options, "keep_alive": "1h"}
            url = f"{server.url}/api/generate"
            with httpx.stream("POST", url, json=body, timeout=30) as answer:
                lines.extend(answer.iter_lines())

        listener = threading.Thread(target=listen)
        listener.start()
        until(lambda: server.server.app.state.server.metrics.in_flight == 1)
        until(lambda: bool(server.server.app.state.server.registry.running()))
        time.sleep(0.3)
        server.server.should_exit = True
        began = time.monotonic()
        listener.join(15)
        assert not listener.is_alive()
        assert time.monotonic() - began < 6
    assert len(lines) > 5


@pytest.mark.slow
@pytest.mark.parametrize("keep_alive", [0, "5m"])
def test_memory_of_what_is_over_is_let_go(server: Running, keep_alive) -> None:
    with httpx.Client(base_url=server.url) as client:
        for seed in range(5):
            _text(client.post("/api/generate", json=_asked(seed) | {"keep_alive": keep_alive}))
        parts = server.server.app.state.server
        until(lambda: not parts.registry.notifier._events)
        until(lambda: parts.metrics.in_flight == 0)


def test_an_unloaded_model_leaves_the_memory(models: Path) -> None:
    with serving(models) as server, httpx.Client(base_url=server.url) as client:
        _text(client.post("/api/generate", json=_asked(0)))
        registry = server.server.app.state.server.registry
        generator = weakref.ref(registry.running()[0].batcher.generator)
        assert gc.get_freeze_count() > 0  # the collector does not look through it again
        assert generator() is not None
        client.post("/api/generate", json={"model": "tiny", "keep_alive": 0})
        until(lambda: generator() is None)


def test_the_collector_leaves_alone_what_compiling_left(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[list[int]] = []
    # On a GPU the warm-up compiles, which leaves some hundred thousand objects.
    monkeypatch.setattr(
        DecodeEngine, "warm_up", lambda _: left.extend([number] for number in range(200_000))
    )
    with serving(models, compile=True) as server, httpx.Client(base_url=server.url) as client:
        assert client.post("/api/generate", json={"model": "tiny"}).status_code == 200
        until(lambda: client.get("/readyz/tiny").status_code == 200)
        assert len(left) == 200_000
        assert len(gc.get_objects()) < 100_000
    gc.unfreeze()
