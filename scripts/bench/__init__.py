"""``gpu-learning bench``: the commands behind the figures of docs/benchmarks.md."""

import importlib
import sys
from collections.abc import Sequence
from difflib import get_close_matches

BENCHMARKS = {
    "fit": ("scripts.bench.fit", "seconds of Trainer.fit and a metric over seeds"),
    "ladder": ("scripts.bench.ladder", "from the plain loop to own kernels, one option at a time"),
    "scaling": ("scripts.bench.scaling", "one device and several: seconds, images per second"),
    "startup": ("scripts.bench.startup", "from Enter to the first training step"),
    "train": ("scripts.bench.train", "one config against the course's loop and plain Lightning"),
    "infer": ("scripts.bench.infer", "every exported file of a model against the eager net"),
    "images": ("scripts.bench.images", "accuracy on scans, photos and other kinds of files"),
    "generate": (
        "scripts.bench.generate",
        "tokens per second of the sampler and the course's loop",
    ),
    "grammar": ("scripts.bench.grammar", "what answers by a JSON Schema cost in each step"),
    "serve": ("scripts.bench.serve", "many streams over HTTP, together and one at a time"),
    "turns": ("scripts.bench.turns", "first token of a conversation's next turn, with its cache"),
    "lora": ("scripts.bench.lora", "LoRA training of GPT-2: tokens per second and memory"),
}


def main(argv: Sequence[str]) -> int:
    """Runs one benchmark: ``argv`` is ``["bench", NAME, OPTIONS...]``."""
    if len(argv) < 2 or argv[1] not in BENCHMARKS:
        asked = len(argv) > 1 and argv[1] in ("-h", "--help")
        rows = "\n".join(f"  {name:<9} {text}" for name, (_, text) in BENCHMARKS.items())
        usage = f"usage: gpu-learning bench NAME [OPTIONS]\n\nbenchmarks:\n{rows}"
        if not asked and len(argv) > 1:
            near = get_close_matches(argv[1], BENCHMARKS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(BENCHMARKS)}"
            print(f"gpu-learning: error: no benchmark {argv[1]!r}; {hint}", file=sys.stderr)
            return 2
        print(usage, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    return importlib.import_module(BENCHMARKS[argv[1]][0]).main(argv[1:])
