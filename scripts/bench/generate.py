"""``gpu-learning bench generate``: tokens per second of the sampler beside the course's loop."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from datamodules import CharTokenizer
from inference.text.generate import TextGenerator
from inference.text.options import SamplingOptions
from inference.text.tokenizer import Tokenizer
from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig
from scripts.bench.timing import machine, seconds, summary, table, take_turns
from scripts.parser import Parser

_BARE = GPT2_SWITCHES | {"qkv_bias": False, "bias": False}
SHAPES = {
    "course": GPTConfig(),
    "shakespeare": GPTConfig(65, 256, 384, layers=6, heads=6, **_BARE),
    "gpt2": GPTConfig(50257, 1024, 768, layers=12, heads=12, **GPT2_SWITCHES),
}


def main(argv: Sequence[str]) -> int:
    """Measures and prints; ``argv`` begins with the benchmark's name."""
    parser = Parser(
        "gpu-learning bench generate",
        description="Tokens per second, prefill included: median of rounds in which the "
        "candidates take turns. Weights are random: they change no speed.",
    )
    parser.add_argument("--shape", choices=SHAPES, default="shakespeare")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument(
        "--prompt", type=int, default=0, help="tokens; 0: as many as the context has"
    )
    parser.add_argument("--tokens", type=int, default=128, help="new tokens (%(default)s)")
    parser.add_argument("--batch", default="1", help="sequences at once, by comma (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0: greedy (%(default)s)")
    parser.add_argument("--compile", action="store_true", help="also with the step compiled (GPU)")
    parser.add_argument("--kernels", action="store_true", help="also by Triton kernels (GPU)")
    parser.add_argument("--int8", action="store_true", help="also by those with int8 weights")
    parser.add_argument("--only-ours", action="store_true", help="without the slow loops")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv[1:])
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    results = _measure(arguments, device)
    batches = [int(batch) for batch in arguments.batch.split(",")]
    size = 2 if device == "cuda" else 4  # bytes of a weight
    config, prompt = SHAPES[arguments.shape], arguments.prompt
    length = min((prompt or config.context) + arguments.tokens // 2, config.context)
    copied = copy_bandwidth(device)
    read = {batch: bytes_per_step(config, batch, length, size) for batch in batches}
    document = {
        "shape": arguments.shape,
        **machine(device),
        "new_tokens": arguments.tokens,
        "rounds": arguments.rounds,
        "tokens_per_second": results,
        "copy_bytes_per_second": copied,
        "limits": {f"{batch} at once": batch * copied / read[batch] for batch in batches},
    }
    if arguments.json:
        print(json.dumps(document))
        return 0
    print("{shape} on {where}, {threads} threads, torch {torch}".format(**document))
    print(table(results, "tokens/s", reference=next(iter(results))))
    for name, limit in document["limits"].items():
        best = max(row["median"] for key, row in results.items() if key.endswith(f" {name}"))
        print(
            f"{name}, weights and cache read as fast as a copy ({copied / 1e9:,.0f} GB/s): "
            f"{limit:,.0f} tokens/s; the best above is {best / limit:.0%} of it"
        )
    return 0


def _measure(arguments: argparse.Namespace, device: str) -> dict[str, dict[str, float]]:
    torch.manual_seed(0)
    config = SHAPES[arguments.shape]
    net = GPT(config).eval().requires_grad_(False)
    prompt = torch.randint(config.vocab_size, (arguments.prompt or config.context,)).tolist()
    options = SamplingOptions(arguments.tokens, arguments.temperature, seed=0)
    candidates: dict[str, tuple[int, Callable[[], object]]] = {}
    if not arguments.only_ours:
        loop = net.to(device)
        candidates["the course's loop, float32"] = (1, lambda: course_loop(loop, prompt, options))
        ours = _ours(net, config, device, prompt, options, 1, cache=False)
        candidates["sampler without cache"] = (1, ours)
    for batch in map(int, arguments.batch.split(",")):
        ours = _ours(net, config, device, prompt, options, batch)
        candidates[f"sampler, {batch} at once"] = (batch, ours)
        for asked in (["compile"], ["kernels"], ["kernels", "int8"]):
            if getattr(arguments, asked[-1]):
                ways = dict.fromkeys(asked, True)
                ours = _ours(net, config, device, prompt, options, batch, **ways)
                name = " ".join(f"--{way}" for way in asked)
                candidates[f"sampler, {name}, {batch} at once"] = (batch, ours)
    for _, run in candidates.values():
        run()  # allocates, captures, compiles

    def rate(batch: int, run: Callable[[], object]) -> float:
        return batch * arguments.tokens / seconds(run, device)

    rates = {name: partial(rate, *candidate) for name, candidate in candidates.items()}
    measured = take_turns(rates, arguments.rounds)
    return {name: summary(values) for name, values in measured.items()}


def bytes_per_step(config: GPTConfig, batch: int, length: int, size: int) -> int:
    """Bytes that a decode step must read: each weight once, and the cache.

    Args:
        config: of a net with a tied output layer, or with one of its own.
        batch: sequences.
        length: positions of each.
        size: bytes of a weight, and of a number in the cache.
    """
    with torch.device("meta"):
        net = GPT(config)
    # Of the embeddings only the tokens' is read, where it is the output layer as well.
    weights = sum(parameter.numel() for parameter in net.parameters())
    weights -= net.position.weight.numel()
    weights -= 0 if config.tied else net.token.weight.numel()
    cache = 2 * config.layers * config.width * length * batch
    return size * (weights + cache)


def copy_bandwidth(device: str) -> float:
    """Bytes per second that a copy reads and writes: the best of ten, beyond any cache."""
    one = torch.ones((1 << 30 if device == "cuda" else 1 << 28) // 4, device=device)
    other = torch.empty_like(one)
    return 2 * one.nbytes / min(seconds(lambda: other.copy_(one), device) for _ in range(10))


def letter_tokenizer(size: int) -> Tokenizer:
    """A vocabulary of ``size`` single letters, from planes where there are enough of them."""
    letters = "".join(chr(0x10000 + index) for index in range(size))
    return Tokenizer(CharTokenizer(letters).to_json())


def _ours(
    net: GPT,
    config: GPTConfig,
    device: str,
    prompt: list[int],
    options: SamplingOptions,
    batch: int,
    **ways: Any,
) -> Callable[[], None]:
    tokenizer = letter_tokenizer(config.vocab_size)
    generator = TextGenerator(
        asdict(config),
        net.state_dict(),
        tokenizer,
        device,
        slots=batch,
        **ways,
    )
    text = tokenizer.decode(prompt)

    def run() -> None:
        generator.generate([text] * batch, options)

    return run


@torch.no_grad()
def course_loop(net: GPT, prompt: list[int], options: SamplingOptions) -> list[int]:
    """As the course generates: all of the last ``context`` tokens are computed for each new one."""
    device = net.token.weight.device
    ids = torch.tensor([prompt], device=device)
    for _ in range(options.max_new_tokens):
        logits = net(ids[:, -net.config.context :])[:, -1]
        probabilities = F.softmax(logits / (options.temperature or 1.0), dim=-1)
        ids = torch.cat([ids, torch.multinomial(probabilities, 1)], dim=1)
    return ids[0].tolist()
