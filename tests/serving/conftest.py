"""A real server on a free port of the loopback address, over small models made here."""

import contextlib
import hashlib
import json
import shutil
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from datamodules import CharTokenizer
from exporting.commit import write_manifest
from lightning_modules.nets.gpt import GPT, GPTConfig
from tests.serving.browsing import CHROMIUM, FLAGS, WAIT

pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")

import httpx

from serving.server import Server, listen
from serving.settings import Settings

# httpx's own five seconds are too few where other programs have the processors.
httpx._config.DEFAULT_TIMEOUT_CONFIG.read = 60.0
CHARACTERS = "\n .,:acdeghlmnorstA"
CONTEXT = 96


@dataclass
class Running:
    """A server that runs; ``url`` without a slash at its end."""

    url: str
    server: Server
    models: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextlib.contextmanager
def serving(models: Path, host: str = "127.0.0.1", **settings: Any) -> Iterator[Running]:
    """Serves ``models`` from a thread of this process."""
    urls: list[str] = []
    server = Server(Settings(models, host, device="cpu", **settings), urls.append)
    listener = listen(host, 0)
    thread = threading.Thread(target=server.serve_on, args=(listener,))
    thread.start()
    try:
        until(lambda: bool(urls))
        yield Running(urls[0], server, models)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def talk(server: Running, content: bytes) -> bytes:
    """All that the server says to these bytes until it ends the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(content)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def until(condition, seconds: float = 20) -> None:
    """Waits for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def export_tiny(folder: Path, characters: str = CHARACTERS) -> None:
    """``tiny``: a character model with random weights, context 96."""
    torch.manual_seed(0)
    net = GPT(GPTConfig(vocab_size=len(characters), context=CONTEXT))
    for parameter in net.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    export_net(folder, net, CharTokenizer(characters).to_json())


def export_net(folder: Path, net: GPT, tokenizer: str) -> None:
    """A language model's artifact, without the checks of an export."""
    folder.mkdir(parents=True)
    save_file(net.state_dict(), folder / "weights.safetensors")
    (folder / "tokenizer.json").write_text(tokenizer)
    _seal(
        folder,
        {"safetensors": "weights.safetensors", "tokenizer": "tokenizer.json"},
        task="text-generation",
        input={"shape": [net.config.context], "dtype": "int64"},
        labels=None,
        config={name: value for name, value in vars(net.config).items() if name != "dropout"},
        parameters=sum(parameter.numel() for parameter in net.parameters()),
    )


def export_digits(folder: Path) -> None:
    """``digits``: a linear classifier with random weights."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval().requires_grad_(False)
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit says on every call that it is old
        torch.jit.save(torch.jit.script(net), folder / "net.pt")
    _seal(
        folder,
        {"torchscript": "net.pt"},
        task="image-classification",
        input={"shape": [1, 28, 28], "dtype": "float32", "mean": 0.1307, "std": 0.3081},
        labels=[str(digit) for digit in range(10)],
        model="nets.linear.Linear",
        parameters=7850,
    )


def _seal(folder: Path, files: dict[str, str], **fields: Any) -> None:
    entries = {}
    for kind, name in files.items():
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        entries[kind] = {"file": name, "bytes": len(content), "sha256": digest, "device": "any"}
    write_manifest(folder, {"schema": 1, "name": folder.name, **fields, "files": entries})


def describe(folder: Path, **fields: Any) -> None:
    """Sets fields of a manifest."""
    document = json.loads((folder / "manifest.json").read_text())
    document.pop("checksum")
    write_manifest(folder, document | fields)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny``; ``talk``, with a template; ``json``, that can; ``digits``; and damaged ones."""
    root = tmp_path_factory.mktemp("served") / "models"
    export_tiny(root / "tiny")
    for name in ("talk", "broken"):
        shutil.copytree(root / "tiny", root / name)
    describe(root / "talk", prompt_template="a: {question}\nd:")
    weights = next((root / "broken").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    export_tiny(root / "json", "\n" + "".join(map(chr, range(0x20, 0x7F))))
    export_digits(root / "digits")
    (root / "half").mkdir()
    (root / "half" / "manifest.json").write_text('{"schema": 1,')
    (root / "notes.txt").write_text("not a model")
    return root


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Running]:
    """One server for all tests that change nothing for others."""
    with serving(models) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra dev")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt install chromium, or name one in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        # Every launch has a new, empty profile.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser) -> Iterator[Callable]:
    """Opens a page of a server; at the end, nothing but that server may have been asked."""
    asked: list[str] = []
    wrong: list[str] = []
    contexts = []

    def open_page(url: str, path: str = "ui", **how):
        context = browser.new_context(**how)
        context.set_default_timeout(WAIT)
        contexts.append(context)
        context.on("request", lambda request: asked.append(request.url))
        context.on("weberror", lambda error: wrong.append(str(error.error)))
        context.on(
            "console", lambda said: "Security Policy" in said.text and wrong.append(said.text)
        )
        page = context.new_page()
        page.goto(f"{url}/{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert asked
    assert {address.split("/")[2].split(":")[0] for address in asked if address[:4] == "http"} == {
        "127.0.0.1"
    }
    assert {address.split(":")[0] for address in asked} <= {"http", "data", "blob"}
    assert not wrong
