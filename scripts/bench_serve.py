"""``gpu-learning bench serve``: many streams over HTTP at once, against the same one by one."""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inference.manifest import read_manifest
from scripts.bench_generate import SHAPES, letter_tokenizer, spread, where


def main(argv: Sequence[str]) -> int:
    """Measures and prints; ``argv`` begins with the benchmark's name."""
    parser = _parser()
    arguments = parser.parse_args(argv[1:])
    for name in ("streams", "slots", "tokens", "alone", "rounds"):
        if (value := getattr(arguments, name)) < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    if arguments.models is not None:
        read_manifest(arguments.models / arguments.model)
    with tempfile.TemporaryDirectory() as folder:
        models = arguments.models
        if models is None:
            models = Path(folder)
            _random_model(models / "bench", arguments.shape)
        with _server(models, arguments) as (url, pid):
            report = asyncio.run(_measure(url, pid, arguments))
    # On a GPU in half precision, sums are rounded in another way for another number of texts.
    exact = not report.pop("on_gpu")
    report["where"] = where("cpu" if exact else "cuda")
    if arguments.json:
        print(json.dumps(report))
        return 0
    print(f"{report['streams']} streams of {report['tokens']} tokens on {report['where']}")
    for name in ("together", "one by one"):
        row = report[name]
        low, high = row["min"], row["max"]
        print(f"{name:<12}{row['median']:>12,.0f} tokens/s  ({low:,.0f} to {high:,.0f})")
    print(f"ratio       {report['ratio']:>12.1f}")
    cost = report["processor_ms_a_token"]
    print(
        f"processor time of the server a token: {cost['together']:.3f} ms together, "
        f"{cost['one by one']:.3f} ms one by one"
    )
    rounding = "" if exact else "; half precision rounds with the size of the batch"
    print(f"texts equal one by one: {report['equal']} of {report['compared']}{rounding}")
    print(f"a late request's first token after {report['first_token_ms']:.1f} ms (median)")
    if arguments.soak:
        rows = ", ".join(f"{value:,.1f}" for value in report["memory_mib"])
        print(f"memory over {arguments.soak:,} requests, MiB: {rows}")
    return 1 if exact and report["equal"] < report["compared"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "gpu-learning bench serve",
        description="Starts a server on a free port and asks it over HTTP: all streams at once, "
        "then one by one with the same seeds; compares the texts; the wait for the first token of "
        "a request that comes while the others run; memory of the server over many requests.",
    )
    parser.add_argument("--shape", choices=SHAPES, default="course", help="random weights")
    parser.add_argument("--models", type=Path, help="a models folder instead, with --model")
    parser.add_argument("--model", default="bench", help="name in that folder (%(default)s)")
    parser.add_argument("--prompt", help="its prompt; letters of the random vocabulary otherwise")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--streams", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--slots", type=int, default=64, help="texts at once (%(default)s)")
    parser.add_argument("--compile", action="store_true", help="the server compiles the step")
    parser.add_argument("--tokens", type=int, default=128, help="of each (%(default)s)")
    parser.add_argument("--alone", type=int, default=16, help="timed one by one (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--soak", type=int, default=0, help="requests to watch memory over")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser


def _random_model(folder: Path, shape: str) -> None:
    """An artifact of the asked shape with random weights, which change no speed."""
    import hashlib

    import torch
    from safetensors.torch import save_file

    from exporting.commit import write_manifest
    from lightning_modules.nets.gpt import GPT

    torch.manual_seed(0)
    config = SHAPES[shape]
    folder.mkdir(parents=True)
    save_file(GPT(config).state_dict(), folder / "weights.safetensors")
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
def _server(models: Path, arguments: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """A server in a process of its own: its URL and its number."""
    code = "import sys; from scripts.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "serve", str(models), "--port", "0"]
    command += ["--device", arguments.device, "--slots", str(arguments.slots)]
    command += ["--compile"] * arguments.compile
    path = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "http://" not in line:
                raise ValueError("the server did not start; what it said is above")
            yield line.split(" on ")[1].split()[0], process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


async def _measure(url: str, pid: int, arguments: argparse.Namespace) -> dict[str, Any]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    prompt = arguments.prompt
    if prompt is None:
        prompt = letter_tokenizer(SHAPES[arguments.shape].vocab_size).decode(range(8))

    async def ask(seed: int, tokens: int = arguments.tokens) -> "_Told":
        options = {"num_predict": tokens, "seed": seed}
        body = {"model": arguments.model, "prompt": prompt, "options": options}
        return await _stream(host, int(port), "/api/generate", body)

    await ask(0, 2)  # loads, captures, allocates
    together, alone, first = [], [], []
    costs: dict[str, list[float]] = {"together": [], "one by one": []}
    texts: list[str] = []
    for _ in range(arguments.rounds):
        before = _processor_ms(pid)
        rate, told = await _timed(lambda: asyncio.gather(*map(ask, range(arguments.streams))))
        costs["together"].append((_processor_ms(pid) - before) / sum(one.tokens for one in told))
        together.append(rate)
        texts = [one.text for one in told]

        async def in_turn() -> "list[_Told]":
            return [await ask(seed) for seed in range(arguments.alone)]

        before = _processor_ms(pid)
        rate, told = await _timed(in_turn)
        costs["one by one"].append((_processor_ms(pid) - before) / sum(one.tokens for one in told))
        alone.append(rate)
        others = range(arguments.slots - 1)
        running = [asyncio.create_task(ask(seed, 10**6)) for seed in others]
        await asyncio.sleep(0.5)
        for seed in range(5):
            first.append((await ask(seed, 1)).first_ms)
            await asyncio.sleep(0.05)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.sleep(0.2)
    equal = [(await ask(seed)).text == text for seed, text in enumerate(texts)]
    listed = json.loads(await _get(host, int(port), "/api/ps"))["models"]
    return {
        "on_gpu": bool(listed[0]["size_vram"]),
        **{name: getattr(arguments, name) for name in ("shape", "streams", "slots", "tokens")},
        "together": spread(together),
        "one by one": spread(alone),
        "ratio": statistics.median(together) / statistics.median(alone),
        "processor_ms_a_token": {name: statistics.median(each) for name, each in costs.items()},
        "equal": sum(equal),
        "compared": len(equal),
        "first_token_ms": statistics.median(first),
        "memory_mib": await _soak(ask, pid, arguments),
    }


async def _timed(work: "Callable[[], Awaitable[list[_Told]]]") -> "tuple[float, list[_Told]]":
    """Tokens a second, and what was told."""
    began = time.perf_counter()
    told = await work()
    return sum(one.tokens for one in told) / (time.perf_counter() - began), told


async def _soak(
    ask: "Callable[[int, int], Awaitable[_Told]]", pid: int, arguments: argparse.Namespace
) -> list[float]:
    """Memory of the server in MiB, after each tenth of the requests."""
    found = []
    for _ in range(10 if arguments.soak else 0):
        left = arguments.soak // 10
        while left > 0:
            batch = min(left, arguments.streams)
            await asyncio.gather(*(ask(seed, 4) for seed in range(batch)))
            left -= batch
        found.append(_resident(pid))
    return found


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _processor_ms(pid: int) -> float:
    """Milliseconds of processor time that a process has had; other programs don't change it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e3 / os.sysconf("SC_CLK_TCK")


class _Told:
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
        return "".join(json.loads(row)["response"] for row in self._rows)


async def _stream(host: str, port: int, path: str, body: dict[str, Any]) -> _Told:
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
    return _Told(b"".join(chunks), first_ms)


async def _get(host: str, port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]
