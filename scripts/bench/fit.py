"""``gpu-learning bench fit``: seconds of ``Trainer.fit`` and a metric over seeds."""

import json
import logging
import statistics
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import partial
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only

from datamodules import ImageDataModule
from scripts.bench.timing import seconds, summary
from scripts.parser import Parser
from training.cli import TrainCLI
from training.quiet import quiet


def measure(options: Sequence[str], seeds: Sequence[int], metric: str) -> list[dict[str, float]]:
    """Trains once per seed after a short run that is not counted, and scores each model once.

    All runs on images share the data module, so that the data is read and moved to the device in
    the first. ``test/...`` is of a test with the weights that training ends with, ``val/...`` the
    best of the run's validations by its monitor.
    """
    data: Any = None
    rows = []
    for number, seed in enumerate([seeds[0], *seeds]):
        short = [] if number else ["--trainer.max_steps=150"]
        cli = TrainCLI(["fit", *options, *short, "--seed_everything", str(seed)], run=False)
        data = data if isinstance(data, ImageDataModule) else cli.datamodule
        data.seed = seed
        if isinstance(data, ImageDataModule) and data.val_size:
            data._splits.clear()
        device = cli.trainer.strategy.root_device
        took = seconds(partial(cli.trainer.fit, cli.model, datamodule=data), str(device))
        if number:
            rows.append(
                {
                    "seed": seed,
                    "seconds": took,
                    _unit(data): _amount(cli.trainer, data),
                    metric: _score(cli, data, metric),
                }
            )
    return rows


def _score(cli: TrainCLI, data: Any, metric: str) -> float:
    if metric.startswith("test/"):
        return cli.trainer.test(cli.model, datamodule=data, verbose=False)[0][metric]
    checkpoint: Any = cli.trainer.checkpoint_callback
    if checkpoint is None or checkpoint.monitor != metric:
        raise ValueError(f"{metric} is not what this config monitors; add --checkpoint.monitor")
    if checkpoint.best_model_score is None:
        raise ValueError(
            f"nothing was validated, so there is no {metric}; an epoch must end within the run, "
            "with --data.init_args.val_size above 0"
        )
    return checkpoint.best_model_score.item()


def _unit(data: Any) -> str:
    return "tokens" if hasattr(data, "context") else "images"


def _amount(trainer: pl.Trainer, data: Any) -> int:
    """Images or tokens of all processes; a smaller last batch of an epoch counts as a full one."""
    batches = trainer.fit_loop.epoch_loop.batch_progress.total.completed
    return batches * data.batch_size * trainer.world_size * getattr(data, "context", 1)


def report_of(rows: list[dict[str, float]], metric: str) -> dict[str, float]:
    """What the runs come to; the names say what each number is."""
    took, scores = summary([row["seconds"] for row in rows]), [row[metric] for row in rows]
    unit = "tokens" if "tokens" in rows[0] else "images"
    name = "test accuracy" if metric == "test/acc" else metric
    return {
        "n": len(rows),
        **{f"fit seconds, {key}": took[key] for key in ("median", "q25", "q75", "min", "max")},
        f"{unit} per second": summary([row[unit] / row["seconds"] for row in rows])["median"],
        f"{name}, mean": statistics.mean(scores),
        f"{name}, std": statistics.stdev(scores) if len(rows) > 1 else 0.0,
        f"{name}, min": min(scores),
    }


def main(argv: Sequence[str]) -> int:
    """Prints mean, spread and number of runs; ``--json`` has every run."""
    parser = Parser(
        "gpu-learning bench fit",
        description=__doc__,
        epilog="All other options are those of gpu-learning fit: -c configs/mnist_fast.yaml ...",
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many runs")
    parser.add_argument(
        "--metric",
        default="test/acc",
        help="test/NAME, or the val/NAME that the config monitors (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments, options = parser.parse_known_args(argv[1:])
    if arguments.seeds < 1:
        parser.error("--seeds must be at least 1")
    quiet()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    with redirect_stdout(sys.stderr):  # what the runs say is not the report
        rows = measure(options, range(arguments.seeds), arguments.metric)
    if rank_zero_only.rank:  # of several processes one speaks
        return 0
    report = report_of(rows, arguments.metric)
    if arguments.json:
        print(json.dumps({"summary": report, "runs": rows}, indent=2))
    else:
        for name, value in report.items():
            print(f"{name:<22} {value:.4f}" if isinstance(value, float) else f"{name:<22} {value}")
    return 0
