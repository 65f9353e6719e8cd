"""``gpu-learning bench serve``: many streams over HTTP at once, against the same one by one."""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from inference.manifest import read_manifest
from scripts.bench.asking import Answer, random_model, running_server, stream
from scripts.bench.generate import SHAPES, letter_tokenizer
from scripts.bench.timing import device_name, summary, table
from scripts.parser import Parser


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
            random_model(models / "bench", SHAPES[arguments.shape])
        options = ["--device", arguments.device, "--slots", str(arguments.slots)]
        for name in ("compile", "kernels", "int8"):
            options += [f"--{name}"] * getattr(arguments, name)
        with running_server(models, *options) as (url, pid):
            report = asyncio.run(_measure(url, pid, arguments))
    # On a GPU in half precision, sums are rounded in another way for another number of sequences.
    report["exact"] = exact = not report.pop("on_gpu")
    report["where"] = device_name("cpu" if exact else "cuda")
    if arguments.json:
        print(json.dumps(report))
        return 0
    print("\n".join(lines(report, arguments.soak)))
    return 1 if exact and report["equal"] < report["compared"] else 0


def lines(report: dict[str, Any], soak: int) -> list[str]:
    """What is printed of a report, where no JSON is asked for."""
    rates = {name: report[name] for name in ("together", "one at a time")}
    costs = ", ".join(
        f"{ms:.3f} ms {name}" for name, ms in report["processor_ms_per_token"].items()
    )
    rounding = "" if report["exact"] else "; half precision rounds with the size of the batch"
    rows = [
        f"{report['streams']} streams of {report['tokens']} tokens on {report['where']}",
        table(rates, "tokens/s"),
        f"ratio       {report['ratio']:>12.1f}",
        f"processor time of the server per token: {costs}",
        f"texts equal one at a time: {report['equal']} of {report['compared']}{rounding}",
        f"a late request's first token after {report['first_token_ms']:.1f} ms (median)",
    ]
    if soak:
        memory = ", ".join(f"{value:,.1f}" for value in report["memory_mib"])
        rows.append(f"memory over {soak:,} requests, MiB: {memory}")
    return rows


def _parser() -> Parser:
    parser = Parser(
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
    parser.add_argument("--slots", type=int, default=64, help="sequences at once (%(default)s)")
    parser.add_argument("--compile", action="store_true", help="the server compiles the step")
    parser.add_argument("--kernels", action="store_true", help="its step is Triton kernels")
    parser.add_argument("--int8", action="store_true", help="and its weights in 8 bits")
    parser.add_argument("--tokens", type=int, default=128, help="of each (%(default)s)")
    parser.add_argument("--alone", type=int, default=16, help="timed one by one (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--soak", type=int, default=0, help="requests to watch memory over")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser


async def _measure(url: str, pid: int, arguments: argparse.Namespace) -> dict[str, Any]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    prompt = arguments.prompt
    if prompt is None:
        prompt = letter_tokenizer(SHAPES[arguments.shape].vocab_size).decode(range(8))

    async def ask(seed: int, tokens: int = arguments.tokens) -> Answer:
        options = {"num_predict": tokens, "seed": seed}
        body = {"model": arguments.model, "prompt": prompt, "options": options}
        return await stream(host, int(port), "/api/generate", body)

    await ask(0, 2)  # loads, captures, allocates
    together, alone, first = [], [], []
    costs: dict[str, list[float]] = {"together": [], "one at a time": []}
    texts: list[str] = []
    for _ in range(arguments.rounds):
        before = _processor_ms(pid)
        rate, answers = await _timed(lambda: asyncio.gather(*map(ask, range(arguments.streams))))
        tokens = sum(answer.tokens for answer in answers)
        costs["together"].append((_processor_ms(pid) - before) / tokens)
        together.append(rate)
        texts = [one.text for one in answers]

        async def in_turn() -> list[Answer]:
            return [await ask(seed) for seed in range(arguments.alone)]

        before = _processor_ms(pid)
        rate, answers = await _timed(in_turn)
        costs["one at a time"].append(
            (_processor_ms(pid) - before) / sum(one.tokens for one in answers)
        )
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
        "together": summary(together),
        "one at a time": summary(alone),
        "ratio": summary(together)["median"] / summary(alone)["median"],
        "processor_ms_per_token": {name: summary(each)["median"] for name, each in costs.items()},
        "equal": sum(equal),
        "compared": len(equal),
        "first_token_ms": summary(first)["median"],
        "memory_mib": await _soak(ask, pid, arguments),
    }


async def _timed(work: "Callable[[], Awaitable[list[Answer]]]") -> "tuple[float, list[Answer]]":
    """Tokens per second, and the answers."""
    began = time.perf_counter()
    answers = await work()
    return sum(one.tokens for one in answers) / (time.perf_counter() - began), answers


async def _soak(
    ask: "Callable[[int, int], Awaitable[Answer]]", pid: int, arguments: argparse.Namespace
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
    """Milliseconds of processor time that a process has had; other programs do not change it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e3 / os.sysconf("SC_CLK_TCK")


async def _get(host: str, port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]
