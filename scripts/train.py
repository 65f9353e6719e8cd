"""``gpu-learning fit | validate | test | predict``."""

from collections.abc import Sequence
from pathlib import Path

from training.checks import can_run
from training.cli import TrainCLI
from training.quiet import quiet
from training.runs import read_checkpoint


def main(argv: Sequence[str]) -> int:
    """Runs one of LightningCLI's subcommands; ``argv`` begins with its name."""
    quiet()
    cli = TrainCLI(argv)
    if argv[0] == "fit":
        _report(cli)
    return 0


def _report(cli: TrainCLI) -> None:
    """Prints what a fit left, its score, and commands to type next."""
    trainer = cli.trainer
    folder = trainer.log_dir  # asked by every process: it is broadcast
    if folder is None or not trainer.is_global_zero:
        return
    run = Path(folder)
    kept = [run / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")]
    kept = [path for path in kept if path.is_file()]
    print(f"\nrun: {run}")
    if not kept:
        return
    print(f"{kept[0].stem}: {read_checkpoint(kept[0])}")
    score = "test" if can_run("test", cli.model, cli.datamodule) else "validate"
    if not (run / "config.yaml").is_file() or not can_run(score, cli.model, cli.datamodule):
        return
    print("next:")
    print(f"  gpu-learning {score} -c {run / 'config.yaml'} --ckpt_path {kept[0]}")
    print(f"  gpu-learning export {run}")
