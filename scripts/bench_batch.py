"""``gpu-learning bench batch``: many requests on one model, together and one by one."""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from inference.batching import Batcher, Request
from inference.generate import TextGenerator
from inference.sampling import SamplingOptions
from inference.tokenizer import Tokenizer
from lightning_modules.nets.gpt import GPT
from scripts.bench_generate import SHAPES, letter_tokenizer, spread, where


def main(argv: Sequence[str]) -> int:
    """Measures and prints; ``argv`` begins with the benchmark's name."""
    parser = argparse.ArgumentParser(
        "gpu-learning bench batch",
        description="Tokens a second of many requests that are submitted at once, against the same "
        "requests one by one, and the wait for the first token of a request that comes while all "
        "others run. Weights are random: they change no speed.",
    )
    parser.add_argument("--shape", choices=SHAPES, default="course")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--requests", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--slots", type=int, default=64, help="texts at once (%(default)s)")
    parser.add_argument("--tokens", type=int, default=128, help="of each request (%(default)s)")
    parser.add_argument("--prompt", type=int, default=8, help="tokens (%(default)s)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: greedy (%(default)s)")
    parser.add_argument("--top-k", type=int, default=40, help="0: all tokens (%(default)s)")
    parser.add_argument("--alone", type=int, default=16, help="requests one by one (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--compile", action="store_true", help="compile the step (GPU)")
    parser.add_argument("--tokenizer", metavar="tokenizer.json", help="instead of single letters")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv[1:])
    generator, prompt = random_generator(arguments)
    report = _measure(generator, prompt, arguments)
    if arguments.json:
        print(json.dumps(report))
        return 0
    print(f"{arguments.shape} on {report['where']}, torch {torch.__version__}")
    for name in ("together", "one by one"):
        row = report[name]
        low, high = row["min"], row["max"]
        print(f"{name:<12}{row['median']:>12,.0f} tokens/s  ({low:,.0f} to {high:,.0f})")
    print(f"ratio       {report['ratio']:>12.1f}")
    print(f"a late request's first token after {report['first_token_ms']:.1f} ms (median)")
    return 0


def random_generator(arguments: argparse.Namespace) -> tuple[TextGenerator, str]:
    """A generator of the asked shape with random weights, and a prompt for it."""
    torch.manual_seed(0)
    config = SHAPES[arguments.shape]
    tokenizer = letter_tokenizer(config.vocab_size)
    if arguments.tokenizer:
        with open(arguments.tokenizer, encoding="utf-8") as file:
            tokenizer = Tokenizer(file.read())
    generator = TextGenerator(
        asdict(config),
        GPT(config).state_dict(),
        tokenizer,
        arguments.device,
        slots=arguments.slots,
        compile=arguments.compile,
    )
    ids = torch.randint(tokenizer.vocab_size - 1, (arguments.prompt,)).tolist()
    return generator, tokenizer.decode(ids)


def _measure(
    generator: TextGenerator, prompt: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    batcher = Batcher(generator, max_queue=arguments.requests)

    def ask(seed: int, tokens: int = arguments.tokens) -> Request:
        chosen = {"temperature": arguments.temperature, "top_k": arguments.top_k, "seed": seed}
        return batcher.submit(prompt, SamplingOptions(tokens, **chosen))

    ask(0).result()  # captures, compiles, allocates
    together, alone, first = [], [], []
    for _ in range(arguments.rounds):
        began = time.perf_counter()
        requests = [ask(seed) for seed in range(arguments.requests)]
        made = sum(len(request.result().tokens) for request in requests)
        together.append(made / (time.perf_counter() - began))
        began = time.perf_counter()
        made = sum(len(ask(seed).result().tokens) for seed in range(arguments.alone))
        alone.append(made / (time.perf_counter() - began))
        running = [ask(seed, 10**6) for seed in range(arguments.slots - 1)]
        for seed in range(5):
            time.sleep(0.05)
            late = ask(seed, 1)
            late.result()
            first.append((late.queued_ns + late.prompt_ns) / 1e6)
        for request in running:
            request.cancel()
    batcher.close()
    return {
        "where": where(generator.engine.device.type),
        **{key: getattr(arguments, key) for key in ("shape", "requests", "slots", "tokens")},
        "together": spread(together),
        "one by one": spread(alone),
        "ratio": statistics.median(together) / statistics.median(alone),
        "first_token_ms": statistics.median(first),
    }
