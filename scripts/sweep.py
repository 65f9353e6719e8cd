"""``gpu-learning sweep``: searches hyperparameters with Optuna."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scripts.parser import Parser


def main(argv: Sequence[str]) -> int:
    """Runs trials until the sweep has as many as it asks for, and prints its report."""
    arguments = _parse(argv)
    try:
        import optuna  # noqa: F401
        import optuna_integration  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{error.name} is not installed; it comes with the extra sweep: make setup "
            "EXTRAS=dev,sweep, or pip install 'gpu-learning[sweep]'"
        ) from error
    from training.sweep.space import read_sweep

    sweep = read_sweep(arguments.file)
    sweep = replace(sweep, trials=arguments.trials or sweep.trials)

    from training.quiet import quiet
    from training.sweep.run import run_sweep

    quiet()
    name = arguments.name or arguments.file.stem
    report = run_sweep(sweep, name, arguments.storage, arguments.heartbeat)
    print(f"\n{report.read_text()}")
    print(f"gpu-learning: the report is in {report}", file=sys.stderr)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "gpu-learning sweep",
        description="Searches hyperparameters of an experiment: configs/sweeps/digits_cnn.yaml is "
        "an example of the file. The same command continues a sweep that was stopped or killed, "
        "and is what further workers run.",
        allow_abbrev=False,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="metric, space, number of trials")
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="database of the trials: postgresql://USER:PASSWORD@HOST/DATABASE for several "
        "machines; by default logs/sweeps/NAME/study.db, an SQLite file",
    )
    parser.add_argument("--name", help="of the study; by default that of the file")
    parser.add_argument("--trials", type=int, help="how many in all, instead of the file's")
    parser.add_argument(
        "--heartbeat",
        type=int,
        default=20,
        metavar="SECONDS",
        help="between two signs of life of a worker; after three missed ones its trial is marked "
        "failed and tried again (default 20)",
    )
    arguments = parser.parse_args(argv[1:])
    for option in ("trials", "heartbeat"):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            parser.error(f"--{option} must be at least 1, got {value}")
    return arguments
