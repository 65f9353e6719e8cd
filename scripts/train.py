"""``gpu-learning fit | validate | test | predict``."""

from collections.abc import Sequence

from training.cli import TrainCLI
from training.quiet import quiet


def main(argv: Sequence[str]) -> int:
    """Runs one of LightningCLI's subcommands; ``argv`` begins with its name."""
    quiet()
    TrainCLI(argv)
    return 0
