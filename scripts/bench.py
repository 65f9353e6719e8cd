"""``gpu-learning bench``: the commands behind the figures of docs/benchmarks.md."""

import importlib
import sys
from collections.abc import Sequence

BENCHMARKS = {
    "fit": ("scripts.bench_fit", "seconds of Trainer.fit and test accuracy over seeds"),
    "scaling": ("scripts.bench_scaling", "one device and several: seconds, images a second"),
    "startup": ("scripts.bench_startup", "from Enter to the first training step"),
    "train": ("scripts.bench_train", "one config against the course's loop and plain Lightning"),
    "infer": ("scripts.bench_infer", "every exported file of a model against the eager net"),
    "generate": ("scripts.bench_generate", "tokens a second of the sampler and the course's loop"),
    "batch": ("scripts.bench_batch", "many requests on one model, together and one by one"),
    "serve": ("scripts.bench_serve", "many streams over HTTP, together and one by one"),
    "lora": ("scripts.bench_lora", "LoRA training of GPT-2: tokens a second and memory"),
    "text": ("scripts.bench_text", "the Shakespeare model over seeds, and its artifacts"),
}


def main(argv: Sequence[str]) -> int:
    """Runs one benchmark: ``argv`` is ``["bench", NAME, OPTIONS...]``."""
    if len(argv) < 2 or argv[1] not in BENCHMARKS:
        asked = len(argv) > 1 and argv[1] in ("-h", "--help")
        rows = "\n".join(f"  {name:<9} {text}" for name, (_, text) in BENCHMARKS.items())
        usage = f"usage: gpu-learning bench NAME [OPTIONS]\n\nbenchmarks:\n{rows}"
        print(usage, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    return importlib.import_module(BENCHMARKS[argv[1]][0]).main(argv[1:])
