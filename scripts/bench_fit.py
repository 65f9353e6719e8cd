"""``gpu-learning bench fit``: seconds of ``Trainer.fit`` and test accuracy over seeds."""

import argparse
import json
import logging
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only

from training.cli import TrainCLI
from training.quiet import quiet


def measure(options: Sequence[str], seeds: Sequence[int]) -> list[dict[str, float]]:
    """Trains once a seed after a short run that is not counted, and tests each model once.

    All runs share the data module, so the data is read and moved to the device in the first. The
    test is of the weights that training ends with.
    """
    data: Any = None
    rows = []
    for number, seed in enumerate([seeds[0], *seeds]):
        short = [] if number else ["--trainer.max_steps=100"]
        cli = TrainCLI(["fit", *options, *short, "--seed_everything", str(seed)], run=False)
        data = data or cli.datamodule
        data.seed = seed
        if data.val_size:
            data._splits.clear()
        device = cli.trainer.strategy.root_device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        cli.trainer.fit(cli.model, datamodule=data)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - began
        if number:
            result = cli.trainer.test(cli.model, datamodule=data, verbose=False)[0]
            rows.append(
                {
                    "seed": seed,
                    "seconds": seconds,
                    "images": _images(cli.trainer, data.batch_size),
                    "test/acc": result["test/acc"],
                }
            )
    return rows


def _images(trainer: pl.Trainer, batch_size: int) -> int:
    """Images trained on by all processes, a smaller last batch of an epoch taken for a full one."""
    batches = trainer.fit_loop.epoch_loop.batch_progress.total.completed
    return batches * batch_size * trainer.world_size


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    seconds = [row["seconds"] for row in rows]
    accuracy = [row["test/acc"] for row in rows]
    return {
        "n": len(rows),
        "fit seconds, median": statistics.median(seconds),
        "fit seconds, min": min(seconds),
        "fit seconds, max": max(seconds),
        "images a second": statistics.median(row["images"] / row["seconds"] for row in rows),
        "test accuracy, mean": statistics.mean(accuracy),
        "test accuracy, std": statistics.stdev(accuracy) if len(rows) > 1 else 0.0,
        "test accuracy, min": min(accuracy),
    }


def main(argv: Sequence[str]) -> int:
    """Prints mean, spread and number of runs; ``--json`` has every run."""
    parser = argparse.ArgumentParser(
        "gpu-learning bench fit",
        description=__doc__,
        epilog="All other options are those of gpu-learning fit: -c configs/mnist_fast.yaml ...",
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many runs")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments, options = parser.parse_known_args(argv[1:])
    if arguments.seeds < 1:
        parser.error("--seeds must be at least 1")
    quiet()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    with redirect_stdout(sys.stderr):  # what the runs say is not the report
        rows = measure(options, range(arguments.seeds))
    if rank_zero_only.rank:  # of several processes one speaks
        return 0
    report = summary(rows)
    if arguments.json:
        print(json.dumps({"summary": report, "runs": rows}, indent=2))
    else:
        for name, value in report.items():
            print(f"{name:<22} {value:.4f}" if isinstance(value, float) else f"{name:<22} {value}")
    return 0
