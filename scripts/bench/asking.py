"""A server in a process of its own over random weights, and streams read with next to no work."""

import asyncio
import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from exporting.commit import write_manifest
from lightning_modules.nets.gpt import GPT, GPTConfig
from scripts.bench.generate import letter_tokenizer


def random_model(folder: Path, config: GPTConfig, noise: float = 0.0) -> None:
    """An artifact with random weights, which change no speed.

    Args:
        folder: of the artifact.
        config: shape of the net.
        noise: standard deviation of what is added to a new net's weights, so that its answers
            depend on all of the context.
    """
    torch.manual_seed(0)
    net = GPT(config).requires_grad_(False)
    for parameter in net.parameters():
        parameter += noise * torch.randn_like(parameter)
    folder.mkdir(parents=True)
    save_file(net.state_dict(), folder / "weights.safetensors")
    (folder / "tokenizer.json").write_text(letter_tokenizer(config.vocab_size).source)
    files = {}
    for kind, name in (("safetensors", "weights.safetensors"), ("tokenizer", "tokenizer.json")):
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        files[kind] = {"file": name, "bytes": len(content), "sha256": digest, "device": "any"}
    fields = {name: value for name, value in vars(config).items() if name != "dropout"}
    document = {"schema": 1, "name": folder.name, "task": "text-generation", "labels": None}
    document |= {"input": {"shape": [config.context], "dtype": "int64"}, "config": fields}
    write_manifest(folder, document | {"files": files})


@contextmanager
def running_server(models: Path, *options: str) -> Iterator[tuple[str, int]]:
    """``gpu-learning serve`` in a process of its own: its URL and its number."""
    code = "import sys; from scripts.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "serve", str(models), "--port", "0"]
    command += options
    path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "http://" not in line:
                raise ValueError("the server did not start; what it said is above")
            # To collect among half a million objects of what was imported here takes 0.2 s, longer
            # than a round of a fast GPU, in which no stream is read.
            gc.collect()
            gc.freeze()
            yield line.split(" on ")[1].split()[0], process.pid
        finally:
            gc.unfreeze()
            process.send_signal(signal.SIGINT)
            process.wait(30)


class Answer:
    """A stream that was read: its text, tokens, and milliseconds to the first piece.

    The rows but the last are read when the text is asked for, so that the clock has stopped.

    Raises:
        ValueError: the stream ended with an error.
    """

    def __init__(self, content: bytes, first_ms: float) -> None:
        # What begins with { is a row; the other lines are the lengths of HTTP's chunks.
        self._rows = [row for row in content.split(b"\n") if row.startswith(b"{")]
        last = json.loads(self._rows[-1])
        if "error" in last:
            raise ValueError(last["error"])
        self.tokens: int = last["eval_count"]
        self.first_ms = first_ms

    @property
    def text(self) -> str:
        return "".join(_text(json.loads(row)) for row in self._rows)


def _text(row: dict[str, Any]) -> str:
    return row["response"] if "response" in row else row["message"]["content"]


async def stream(host: str, port: int, path: str, body: dict[str, Any]) -> Answer:
    """Reads a stream with next to no work, so that the client is not what is measured."""
    began = time.perf_counter()
    content = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(host, port)
    try:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + content)
        head_of_answer = await reader.readuntil(b"\r\n\r\n")
        chunks = [await reader.read(65536)]
        first_ms = (time.perf_counter() - began) * 1e3
        while chunk := await reader.read(65536):
            chunks.append(chunk)
    finally:
        writer.close()
    if b" 200 " not in head_of_answer.split(b"\r\n")[0]:
        raise ValueError(f"the server refused: {b''.join(chunks).decode()}")
    return Answer(b"".join(chunks), first_ms)
