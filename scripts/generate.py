"""``gpu-learning generate``: text from a trained language model, as it is made."""

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from inference.manifest import MANIFEST, nearest, read_manifest, usage
from scripts.parser import Parser


def main(argv: Sequence[str]) -> int:
    """Streams text to the terminal; ``argv`` begins with the command's name."""
    arguments = _parser().parse_args(argv[1:])
    _refuse_other_task(Path(arguments.model))
    from inference.text.generate import TextGenerator
    from inference.text.sampling import SamplingOptions

    options = SamplingOptions(
        max_new_tokens=arguments.max_new_tokens,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        min_p=arguments.min_p,
        repetition_penalty=arguments.repetition_penalty,
        stop=tuple(arguments.stop),
        seed=arguments.seed,
    )
    if arguments.num_samples < 1:
        raise ValueError(f"--num-samples must be at least 1, got {arguments.num_samples}")
    prompt = _prompt(arguments.prompt)
    generator = TextGenerator.load(
        _folder(arguments.model),
        arguments.format,
        device=arguments.device,
        cache=not arguments.no_cache,
        compile=arguments.compile,
        kernels=arguments.kernels,
        int8=arguments.int8,
    )
    if arguments.compile or arguments.kernels:
        print("compiling, which takes up to a minute ...", file=sys.stderr)
        few = dataclasses.replace(options, max_new_tokens=min(3, options.max_new_tokens))
        generator.generate([prompt], few, arguments.truncate, arguments.raw)
    for sample in range(arguments.num_samples):
        if options.seed is not None:
            options = dataclasses.replace(options, seed=arguments.seed + sample)
        began = time.perf_counter()
        text = generator.begin(prompt, options, arguments.truncate, arguments.raw)
        if not arguments.json:
            print(prompt, end="", flush=True)
        for _, piece in generator.run([text]):
            if not arguments.json:
                print(piece, end="", flush=True)
        seconds = time.perf_counter() - began
        if arguments.json:
            result = {
                "prompt": prompt,
                "text": text.text,
                "tokens": len(text.tokens),
                "reason": text.reason,
                "seconds": round(seconds, 4),
            }
            print(json.dumps(result, ensure_ascii=False))
            continue
        print(flush=True)
        # Not part of the text, so that a pipe gets the text alone.
        rate = len(text.tokens) / seconds
        print(f"{len(text.tokens)} tokens, {rate:,.0f} tokens/s", file=sys.stderr)
    return 0


def _refuse_other_task(folder: Path) -> None:
    """Before torch is imported; what is not in ``models/`` may be on the Hugging Face hub."""
    if (folder / MANIFEST).is_file() or (folder.parts[:1] == ("models",) and not folder.is_dir()):
        manifest = read_manifest(folder)
        if manifest.task != "text-generation":
            raise ValueError(f"{folder} is not a language model but {usage(manifest)}")


def _folder(model: str) -> Path:
    """Where the model's files are, downloaded if ``model`` is a name on the Hugging Face hub."""
    if Path(model).is_dir():
        return Path(model)
    from datamodules.hub import pretrained_folder

    try:
        return pretrained_folder(model)
    except ValueError as error:
        hint = nearest(Path(model))
        if hint == f"; did you mean {Path('models', model)}?":
            raise ValueError(f"there is no folder {model}{hint}") from error
        raise ValueError(f"{error}{hint}") from error


def _prompt(argument: str | None) -> str:
    if argument is not None and argument != "-":
        return argument
    if argument is None and sys.stdin.isatty():
        raise ValueError('give a prompt: gpu-learning generate models/NAME "the cat"')
    content = sys.stdin.buffer.read()
    try:
        # The newline that echo puts at the end was not meant.
        return content.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the prompt on standard input is not UTF-8 (byte {error.start})"
        ) from error


def _parser() -> Parser:
    parser = Parser(
        "gpu-learning generate",
        description="Goes on with a text. The text goes to standard output, the speed to standard "
        "error.",
    )
    parser.add_argument(
        "model",
        help="artifact: models/NAME; or a GPT-2 in transformers' format: a folder, or a name on "
        "the Hugging Face hub such as gpt2",
    )
    parser.add_argument(
        "prompt", nargs="?", help="beginning of the text; - or none: standard input"
    )
    parser.add_argument("--max-new-tokens", type=int, default=60, help="most tokens (%(default)s)")
    parser.add_argument(
        "--temperature", type=float, default=0.8, help="0 takes the most likely token (%(default)s)"
    )
    parser.add_argument(
        "--top-k", type=int, default=0, help="only the k most likely tokens, 0: all"
    )
    parser.add_argument("--top-p", type=float, default=1.0, help="only this share of probability")
    parser.add_argument(
        "--min-p", type=float, default=0.0, help="only this share of the most likely"
    )
    parser.add_argument("--repetition-penalty", type=float, default=1.0, help="above 1: vary more")
    parser.add_argument("--stop", action="append", default=[], help="end before this; repeatable")
    parser.add_argument("--seed", type=int, help="the same seed returns the same text")
    parser.add_argument(
        "--num-samples", type=int, default=1, help="texts, with seed, seed + 1, ..."
    )
    parser.add_argument(
        "--raw", action="store_true", help="not in the template that the model was trained with"
    )
    parser.add_argument("--truncate", action="store_true", help="keep the end of a long prompt")
    parser.add_argument("--format", help="file of the artifact; the most exact by default")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--compile", action="store_true", help="torch.compile the step")
    parser.add_argument(
        "--kernels", action="store_true", help="the step by Triton kernels (GPT-2's kind, CUDA)"
    )
    parser.add_argument("--int8", action="store_true", help="and with weights in 8 bits")
    parser.add_argument("--no-cache", action="store_true", help="compute the whole text each time")
    parser.add_argument("--json", action="store_true", help="one JSON object a text")
    return parser
