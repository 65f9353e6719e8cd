"""``gpu-learning bench startup``: from Enter to the first training step, beside a bare import."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from scripts.bench.timing import ratios, summary, take_turns
from scripts.parser import Parser

IMPORT = "import lightning.pytorch"


class FirstStep(pl.Callback):
    """Prints when the first optimizer step of a run is done."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 1:
            print("first step", time.time(), flush=True)


def bare_import() -> float:
    began = time.time()
    subprocess.run([sys.executable, "-c", IMPORT], check=True)
    return time.time() - began


def first_step(options: Sequence[str]) -> float:
    """Seconds until one optimizer step of a fit is done, its logger and checkpoints included."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        command = ["fit", *options, "--trainer.max_steps=1", "--trainer.default_root_dir", folder]
        command += ["--trainer.logger.init_args.save_dir", folder]
        command += ["--trainer.callbacks+=scripts.bench.startup.FirstStep"]
        result = subprocess.run(
            [sys.executable, "-m", "scripts.cli", *command],
            capture_output=True,
            text=True,
        )
    marks = [line for line in result.stdout.splitlines() if line.startswith("first step")]
    if not marks:
        raise ValueError(f"the run took no step: {result.stderr.strip().splitlines()[-1:]}")
    return float(marks[0].split()[-1]) - began


def main(argv: Sequence[str]) -> int:
    """Prints seconds and the ratio, pair by pair."""
    parser = Parser("gpu-learning bench startup", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments, options = parser.parse_known_args(argv[1:])
    if not options:
        options = ["-c", str(Path(__file__).parents[2] / "configs" / "digits_cnn.yaml")]
    bare_import()  # fills the file cache
    first_step(options)
    measured = take_turns(
        {IMPORT: bare_import, "to the first step": lambda: first_step(options)}, arguments.repeats
    )
    bare, started = measured.values()
    ratio = ratios(bare, started)
    report: dict[str, Any] = {
        "n": len(bare),
        f"{IMPORT}, s": summary(bare)["median"],
        "to the first step, s": summary(started)["median"],
        **{f"ratio, {name}": ratio[name] for name in ("median", "q25", "q75", "min", "max")},
    }
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        for name, value in report.items():
            print(f"{name:<28} {value:.2f}" if isinstance(value, float) else f"{name:<28} {value}")
    return 0
