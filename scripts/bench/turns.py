"""``gpu-learning bench turns``: the wait for the first token of a conversation's next turn."""

import argparse
import asyncio
import json
import random
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from lightning_modules.nets.gpt import GPT2_SWITCHES, GPTConfig
from scripts.bench.asking import Answer, random_model, running_server, stream
from scripts.bench.generate import letter_tokenizer
from scripts.bench.timing import machine, ratios, summary, table
from scripts.parser import Parser

SHAPE = GPTConfig(512, 1024, 256, layers=6, heads=8, **GPT2_SWITCHES)
WITH, WITHOUT = "with reuse", "without"
_OPTIONS = {WITH: "--reuse-prefix", WITHOUT: "--no-reuse-prefix"}


def main(argv: Sequence[str]) -> int:
    """Measures and prints; ``argv`` begins with the benchmark's name."""
    parser = _parser()
    arguments = parser.parse_args(argv[1:])
    for name in ("history", "said", "tokens", "slots", "rounds"):
        if (value := getattr(arguments, name)) < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    needed = arguments.history + arguments.said + 2 * arguments.tokens
    if needed > SHAPE.context:
        parser.error(f"{needed} tokens of both turns are more than the context of {SHAPE.context}")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        random_model(Path(folder, "bench"), SHAPE, noise=0.1)
        common = ["--device", arguments.device, "--slots", str(arguments.slots)]
        urls = {
            name: servers.enter_context(running_server(Path(folder), *common, option))[0]
            for name, option in _OPTIONS.items()
        }
        report = asyncio.run(_measure(urls, arguments))
    if arguments.json:
        print(json.dumps(report))
    else:
        print(
            "{history} tokens, an answer of {tokens}, then {said} more on {where}".format(**report)
        )
        print(table(report["first_token_ms"], "ms", reference=WITHOUT))
        ratio = report["ratio"]
        low, high = ratio["q25"], ratio["q75"]
        print(f"without / with, round by round: {ratio['median']:.2f} [{low:.2f}, {high:.2f}]")
        print(f"texts equal: {report['equal']} of {report['compared']}")
    return 1 if report["equal"] < report["compared"] else 0


def _parser() -> Parser:
    parser = Parser(
        "gpu-learning bench turns",
        description="Two servers with the same random weights, one of which keeps what it has of a "
        "conversation. They take turns: a long first message, an answer, a second message; the "
        "time from the second request to its first token, and whether the answers are the same.",
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--history", type=int, default=900, help="tokens (%(default)s)")
    parser.add_argument("--said", type=int, default=40, help="in the second turn (%(default)s)")
    parser.add_argument("--tokens", type=int, default=16, help="of an answer (%(default)s)")
    parser.add_argument("--slots", type=int, default=4, help="of each server (%(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="(%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser


async def _measure(urls: dict[str, str], arguments: argparse.Namespace) -> dict[str, Any]:
    letters = letter_tokenizer(SHAPE.vocab_size).characters
    first: dict[str, list[float]] = {name: [] for name in urls}
    equal = 0
    for number in range(-1, arguments.rounds):  # one that is not counted: it loads the model
        chance = random.Random(number)
        history, said = (
            "".join(chance.choices(letters, k=length))
            for length in (arguments.history, arguments.said)
        )
        texts = []
        for name, url in urls.items():
            messages = [{"role": "user", "content": history}]
            answer = await _ask(url, messages, arguments.tokens)
            messages += [
                {"role": "assistant", "content": answer.text},
                {"role": "user", "content": said},
            ]
            second = await _ask(url, messages, arguments.tokens)
            texts.append((answer.text, second.text))
            if number >= 0:
                first[name].append(second.first_ms)
        if number >= 0:
            equal += texts[0] == texts[1]
    return {
        **machine("cpu" if arguments.device == "cpu" else _device()),
        "shape": vars(SHAPE),
        **{name: getattr(arguments, name) for name in ("history", "said", "tokens", "slots")},
        "first_token_ms": {name: summary(values) for name, values in first.items()},
        "ratio": ratios(first[WITH], first[WITHOUT]),
        "equal": equal,
        "compared": arguments.rounds,
    }


async def _ask(url: str, messages: list[dict[str, str]], tokens: int) -> Answer:
    host, _, port = url.removeprefix("http://").rpartition(":")
    options = {"num_predict": tokens, "seed": 1}
    body = {"model": "bench", "messages": messages, "options": options}
    return await stream(host, int(port), "/api/chat", body)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
