"""``gpu-learning bench scaling``: one config on one device and on several of one machine."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import torch

from scripts.parser import Parser
from training.cli import TrainCLI
from training.quiet import quiet

HEAD = f"{'':<30}{'fit s':>9}{'min':>9}{'max':>9}{'images/s':>12}{'times':>8}{'test/acc':>17}"


def arms(options: Sequence[str], devices: int, strategy: str) -> dict[str, list[str]]:
    """What is compared: name to the options of its ``bench fit``."""
    batch = TrainCLI(["fit", *options], run=False).datamodule.batch_size
    several = [*options, f"--trainer.devices={devices}", f"--trainer.strategy={strategy}"]
    runs = {
        f"1 device, batch {batch}": [*options, "--trainer.devices=1"],
        f"{devices} devices, batch {batch} each": several,
    }
    if batch % devices == 0:
        share = batch // devices
        name = f"{devices} devices, batch {share} each"
        runs[name] = [*several, f"--data.init_args.batch_size={share}"]
    return runs


def measure(options: Sequence[str], seeds: int) -> dict[str, Any]:
    """The report of a ``bench fit`` in processes of its own, as each number of devices needs.

    Raises:
        ValueError: it failed; what it said is on standard error.
    """
    command = [sys.executable, "-m", "scripts.cli", "bench", "fit", *options]
    result = subprocess.run(
        [*command, "--json", f"--seeds={seeds}"], stdout=subprocess.PIPE, text=True
    )
    if result.returncode:
        raise ValueError(f"this run failed, for the reason above: {' '.join(command[2:])}")
    return json.loads(result.stdout)


def main(argv: Sequence[str]) -> int:
    """Prints one row per number of devices: seconds, images per second, accuracy."""
    parser = Parser(
        "gpu-learning bench scaling",
        description=__doc__,
        epilog="All other options are those of gpu-learning fit: -c configs/mnist_cnn.yaml ...",
    )
    parser.add_argument("--devices", type=int, default=2, help="GPUs, or processes on a CPU")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row")
    parser.add_argument(
        "--strategy",
        default="cuda_graph_ddp" if torch.cuda.is_available() else "ddp",
        help="how several devices work together (cuda_graph_ddp with GPUs, ddp without)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments, options = parser.parse_known_args(argv[1:])
    if arguments.devices < 2 or arguments.seeds < 1:
        parser.error("--devices must be at least 2, --seeds at least 1")
    quiet()
    report = {
        name: measure(run, arguments.seeds)
        for name, run in arms(options, arguments.devices, arguments.strategy).items()
    }
    if arguments.json:
        print(json.dumps(report, indent=2))
        return 0
    print(HEAD)
    alone = next(iter(report.values()))["summary"]["images per second"]
    for name, result in report.items():
        row = result["summary"]
        accuracy = f"{row['test accuracy, mean']:.2%} ± {row['test accuracy, std']:.2%}"
        print(
            f"{name:<30}{row['fit seconds, median']:>9.3f}{row['fit seconds, min']:>9.3f}"
            f"{row['fit seconds, max']:>9.3f}{row['images per second']:>12,.0f}"
            f"{row['images per second'] / alone:>8.2f}{accuracy:>17}"
        )
    return 0
