"""``gpu-learning serve`` as a process: what it prints, how it ends."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from scripts.serve import main

LONG = {
    "model": "tiny",
    "prompt": "the cat",
    "options": {"num_predict": 900, "num_ctx": 96, "seed": 1},
}


@pytest.fixture
def process(models: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its URL."""
    code = "import sys; from scripts.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "serve", str(models), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert match, line
        yield server, match[0]
        server.kill()


def test_ctrl_c_lets_running_streams_end(process) -> None:
    server, url = process
    assert server.stdout.readline() == f"in a browser: {url}/ui\n"
    with httpx.stream("POST", f"{url}/api/generate", json=LONG, timeout=60) as answer:
        rows = answer.iter_lines()
        next(rows)
        server.send_signal(signal.SIGINT)
        *_, last = [json.loads(row) for row in rows]
    assert last.get("done_reason") == "length" or "shutting down" in last["error"]
    assert server.wait(20) == 0
    out, err = server.communicate()
    assert "Traceback" not in out + err


def test_a_kill_in_the_middle_breaks_the_stream(process) -> None:
    server, url = process
    with httpx.stream("POST", f"{url}/api/generate", json=LONG, timeout=60) as answer:
        rows = answer.iter_lines()
        next(rows)
        server.kill()
        with pytest.raises(httpx.RemoteProtocolError):
            list(rows)
    assert server.wait(20) == -signal.SIGKILL


def test_a_port_that_is_taken(gpu_learning, server, models: Path) -> None:
    code, _, err = gpu_learning("serve", models, "--port", server.port)
    assert code == 1
    assert "another server may run there (Ollama takes 11434)" in err
    code, _, err = gpu_learning("serve", models / "nothing", "--port", "0")
    assert (code, "is not a folder" in err) == (1, True)
    code, _, err = gpu_learning("serve", models, "--keep-alive", "soon")
    assert (code, "--keep-alive" in err) == (1, True)
    code, _, err = gpu_learning("serve", models / "tiny", "--port", "0")
    assert (code, "is the folder of one model" in err) == (1, True)
    code, _, err = gpu_learning("serve", models, "--origins", "evil.example")
    assert (code, "'evil.example' is not an origin" in err) == (1, True)


def test_a_folder_without_models_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from serving.server import Server

    monkeypatch.setattr(Server, "serve_on", lambda self, listener: listener.close())
    assert main(["serve", str(tmp_path), "--port", "0"]) == 0
    assert f"warning: {tmp_path} has no model yet" in capsys.readouterr().err


def test_origins_come_from_the_option_or_the_environment(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.server import Server

    started: list[Server] = []

    def serve_on(self: Server, listener) -> None:
        started.append(self)
        listener.close()

    monkeypatch.setattr(Server, "serve_on", serve_on)
    monkeypatch.setenv("OLLAMA_ORIGINS", "https://a.example, chrome-extension://*")
    for more in ([], ["--origins", "https://b.example"], ["--origins", ""]):
        assert main(["serve", str(models), "--port", "0", *more]) == 0
    assert [one.settings.origins for one in started] == [
        ("https://a.example", "chrome-extension://*"),
        ("https://b.example",),
        (),
    ]


def test_other_machines_without_a_key_are_warned_of(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from serving.server import Server

    monkeypatch.setattr(Server, "serve_on", lambda self, listener: listener.close())
    assert main(["serve", str(models), "--host", "0.0.0.0", "--port", "0"]) == 0
    assert "warning: whoever reaches 0.0.0.0 can use these models" in capsys.readouterr().err
    key = models.parent / "key"
    key.write_text("k" * 20)
    key.chmod(0o600)
    command = ["serve", str(models), "--host", "0.0.0.0", "--port", "0", "--api-key-file", str(key)]
    assert main(command) == 0
    assert not capsys.readouterr().err
