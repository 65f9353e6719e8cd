"""``gpu-learning chat`` against the real server, and against others that are none."""

import contextlib
import fcntl
import io
import json
import os
import select
import shutil
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

pytest.importorskip("ollama", reason="needs the extra serve")

import ollama

from inference.text.generate import TextGenerator
from inference.text.sampling import SamplingOptions
from serving.client import Client
from tests.conftest import ROOT
from tests.serving.conftest import describe
from tests.serving.live import models_folder, serving

ASK = ("chat", "--model", "mini_gpt", "--temperature", "0", "--num-predict", "20")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = models_folder(tmp_path_factory.mktemp("chat"))
    shutil.copytree(models / "mini_gpt", models / "talk")
    describe(models / "talk")  # written last
    return models


@pytest.fixture(scope="module")
def url(models: Path) -> Iterator[str]:
    with serving(models) as (url, _):
        yield url


def _greedy(models: Path, prompt: str, tokens: int = 20) -> str:
    generator = TextGenerator.load(models / "mini_gpt", device="cpu")
    return generator.generate([prompt], SamplingOptions(tokens, temperature=0))[0].text


def test_answers_once_what_the_model_says(gpu_learning, models, url, monkeypatch) -> None:
    text = _greedy(models, "the cat")
    assert gpu_learning(*ASK, "--host", url, "the", "cat") == (0, text + "\n", "")
    # OLLAMA_HOST names the server where --host does not, and standard input is a prompt.
    monkeypatch.setenv("OLLAMA_HOST", url)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat\n")))
    assert gpu_learning(*ASK) == (0, text + "\n", "")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"cat")))
    assert gpu_learning(*ASK, "the", "-") == (0, text + "\n", "")
    # A temperature of 0 is a value; the server's own default draws, and follows the seed.
    drawn = ("chat", "--model", "mini_gpt", "--num-predict", "20", "the cat", "--seed")
    first = gpu_learning(*drawn, "1")
    assert first[0] == 0
    assert first == gpu_learning(*drawn, "1")
    assert len({first[1], text + "\n", gpu_learning(*drawn, "2")[1]}) == 3


def test_the_system_message_goes_along(gpu_learning, models, url) -> None:
    text = _greedy(models, "the cat")
    options = ("--model", "talk", "--temperature", "0", "--num-predict", "20", "--host", url)
    assert gpu_learning("chat", *options, "--system", "the ", "cat") == (0, text + "\n", "")
    terminal = Terminal("chat", *options)
    terminal.until(">>> ")
    assert terminal.ask("/system") == "No system message.\n"
    assert terminal.ask('/system "the "') == "System message: the \n"
    assert terminal.ask("cat") == f"{text}\n\n"
    terminal.type(b"/bye\n")
    assert terminal.end() == 0


def test_lists_the_models(gpu_learning, url) -> None:
    code, out, _ = gpu_learning("chat", "--list", "--host", url)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [
        "NAME",
        "talk:latest",  # the newest first, as Ollama has them
        "mini_gpt:latest",
    ]


def test_a_mistake_is_answered_with_its_remedy(gpu_learning, url, workplace: Path) -> None:
    code, out, err = gpu_learning("chat", "--model", "nothing", "--host", url, "hello")
    assert (code, out) == (1, "")
    assert err == (
        f"gpu-learning: error: the server at {url} has no model 'nothing'; it has talk, mini_gpt\n"
    )
    code, _, err = gpu_learning("chat", "--model", "mini_gtp", "--host", url, "hello")
    assert code == 1
    assert "has no model 'mini_gtp'; did you mean mini_gpt? It has talk, mini_gpt\n" in err
    for arguments, message in (
        (("THE",), "lacks 'E' 'H' 'T'"),
        (("--host", "http://[", "the"), "is no address of a server"),
        (("--api-key-file", "missing", "the"), "missing"),
    ):
        code, out, err = gpu_learning(*ASK, "--host", url, *arguments)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert message in err
    code, _, err = gpu_learning("chat", "--host", url, "hello")
    assert code == 2
    assert "--model NAME is needed" in err


@pytest.mark.parametrize("arguments", [("--list",), ("--model", "m", "a stream")])
def test_no_server_names_how_to_start_either(gpu_learning, arguments) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        host = f"127.0.0.1:{closed.server_port}"
    code, out, err = gpu_learning("chat", "--host", host, *arguments)
    assert (code, out) == (1, "")
    assert err == (
        f"gpu-learning: error: no server answers at {host}; start one of them: gpu-learning serve "
        "models/, or Ollama's own: ollama serve\n"
    )


def test_the_servers_key_file_is_the_clients(gpu_learning, models, workplace: Path) -> None:
    keys = workplace / "keys"
    keys.write_text("# two of them\nfirst-of-two-long-keys\nsecond-of-two-long-keys\n")
    keys.chmod(0o600)
    with serving(models, f"--api-key-file={keys}") as (url, _):
        code, _, err = gpu_learning(*ASK, "--host", url, "the cat")
        assert code == 1
        assert "--api-key-file FILE or in OLLAMA_API_KEY" in err
        code, out, _ = gpu_learning(*ASK, "--host", url, "--api-key-file", keys, "the cat")
        assert (code, out) == (0, _greedy(models, "the cat") + "\n")


def test_a_full_server_and_one_that_dies(gpu_learning, models) -> None:
    crowd = ("--slots=1", "--max-queue=1", "--max-tokens=10000000")
    endless = {"num_predict": -1, "seed": 0}  # ten contexts, seconds at the very least
    with serving(models, *crowd) as (url, process), Client(url) as client:
        running = client.generate("mini_gpt", "t", endless)
        next(running)

        def wait() -> None:
            with Client(url) as other, contextlib.suppress(ConnectionError, ValueError):
                list(other.generate("mini_gpt", "t", endless))

        # One of them gets the queue's only place, and the others are turned away.
        waiting = [threading.Thread(target=wait) for _ in range(3)]
        for thread in waiting:
            thread.start()
        while sum(thread.is_alive() for thread in waiting) > 1:
            time.sleep(0.01)
        code, out, err = gpu_learning(*ASK, "--host", url, "t")
        assert (code, out) == (1, "")
        assert "maximum pending requests exceeded); try again in a moment" in err

        process.kill()
        with pytest.raises(ConnectionError, match="went away in the middle of an answer"):
            list(running)
        for thread in waiting:
            thread.join()


class Strange(BaseHTTPRequestHandler):
    """Answers of which the real server has none on demand."""

    def do_POST(self) -> None:
        chunk = json.dumps({"message": {"role": "assistant", "content": "so "}, "response": "so "})
        lines = {
            "/api/chat": f'{chunk}\n{{"error": "the disk is full"}}\n',
            "/api/generate": f'{chunk}\n{{"error": "the disk is full"}}\n',
            "/html/api/generate": "<html>Welcome</html>",
        }
        self.send_response(200)
        self.end_headers()
        self.wfile.write(lines[self.path].encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def strange() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Strange) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_error_in_the_middle_and_what_is_no_ollama_server(gpu_learning) -> None:
    with strange() as url:
        code, out, err = gpu_learning(*ASK, "--host", url, "the")
        assert (code, out) == (1, "so \n")
        assert "the answer broke off: the disk is full" in err
        code, out, err = gpu_learning(*ASK, "--host", f"{url}/html", "the")
        assert (code, out) == (1, "")
        assert "is no Ollama server; --host or OLLAMA_HOST may name another" in err


class Terminal:
    """The command in a pseudo-terminal, as a person has it before him."""

    def __init__(self, *arguments: str) -> None:
        pty = pytest.importorskip("pty", reason="pseudo-terminals are a thing of Unix")
        self._screen, terminal = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.cli", *arguments],
            cwd=ROOT,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            # So that Ctrl-C reaches it: the terminal becomes the new session's own.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env=os.environ | {"TERM": "dumb"},
        )
        os.close(terminal)

    def until(self, text: str) -> str:
        """What is shown up to ``text``."""
        shown = ""
        while not shown.endswith(text):
            shown += self._next()
        return shown.removesuffix(text).replace("\r\n", "\n")

    def some(self, count: int) -> str:
        """The next characters that are shown."""
        return "".join(self._next() for _ in range(count))

    def _next(self) -> str:
        ready, _, _ = select.select([self._screen], [], [], 30)
        assert ready, "nothing is shown any more"
        return os.read(self._screen, 1).decode()

    def ask(self, line: str) -> str:
        """Types a line; what is shown between its echo and the next prompt."""
        os.write(self._screen, f"{line}\n".encode())
        return self.until(">>> ").partition("\n")[2]

    def type(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def end(self) -> int:
        code = self._process.wait(timeout=20)
        os.close(self._screen)
        return code


def test_a_talk_in_a_terminal(url) -> None:
    options = {"temperature": 0, "num_predict": 20}

    def answer(*contents: str, system: str = "") -> str:
        roles = ["user", "assistant"] * len(contents)
        said = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
        first = [{"role": "system", "content": system}] if system else []
        with ollama.Client(url) as client:
            answered = client.chat("mini_gpt", [*first, *said], options=options)
        return answered.message.content or ""

    terminal = Terminal(*ASK, "--host", url)
    terminal.until(">>> ")
    first = answer("the cat")
    assert terminal.ask("the cat") == f"{first}\n\n"
    # The history goes along: the same question alone has another answer.
    second = answer("the cat", first, "ran to")
    assert terminal.ask("ran to") == f"{second}\n\n"
    assert second != answer("ran to")
    assert terminal.ask("/clear") == "Nothing was said.\n"
    assert terminal.ask("ran to") == f"{answer('ran to')}\n\n"
    # A mistake costs the message and not the talk.
    assert "lacks 'E' 'H' 'T'" in terminal.ask("THE")
    assert "/system TEXT" in terminal.ask("/help")
    assert terminal.ask("/nothing") == "There is no /nothing; /help lists the commands.\n"
    assert terminal.ask("/set num_predict many") == "'many' is no value for num_predict\n"
    assert terminal.ask("/set parameter num_predict 8000") == "num_predict is 8000\n"
    terminal.type(b"the cat\n")
    terminal.until("the cat\r\n")
    shown = terminal.some(3)
    terminal.type(b"\x03")
    shown += terminal.until(">>> ")
    assert len(shown) < 8000
    terminal.type(b"\x04")
    assert terminal.end() == 0


def test_a_talk_begins_with_a_model_that_is_there(url) -> None:
    terminal = Terminal("chat", "--model", "nothing", "--host", url)
    assert "has no model 'nothing'; it has talk, " in terminal.until("mini_gpt\r\n")
    assert terminal.end() == 1
