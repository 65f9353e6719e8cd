"""``gpu-learning demo``: a CNN learns digits, is tested, and shows what it learned."""

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

CONFIGS = {"digits": "digits_cnn.yaml", "mnist": "mnist_cnn.yaml"}
CONFIG_FOLDER = Path(__file__).parents[1] / "configs"


def main(argv: Sequence[str]) -> int:
    """Trains and tests, prints a table and writes ``logs/demo/predictions.png``."""
    parser = argparse.ArgumentParser("gpu-learning demo", description=__doc__)
    parser.add_argument("--data", choices=CONFIGS, default="digits", help="what to train on")
    arguments = parser.parse_args(argv[1:])
    config = CONFIG_FOLDER / CONFIGS[arguments.data]

    from rich.console import Console
    from rich.table import Table

    from training.cli import TrainCLI
    from training.quiet import quiet

    quiet()
    log = "--trainer.logger.init_args.name=demo"
    cli = TrainCLI(["fit", "-c", str(config), log], run=False)
    began = time.perf_counter()
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    seconds = time.perf_counter() - began
    result = cli.trainer.test(
        datamodule=cli.datamodule, ckpt_path="best", weights_only=True, verbose=False
    )[0]

    run = Path(cli.trainer.log_dir or ".")
    picture = run.parent / "predictions.png"
    shutil.copyfile(run / "predictions.png", picture)
    images = len(cli.datamodule.test_dataloader().tensors[1])
    parameters = sum(p.numel() for p in cli.model.parameters())
    table = Table(title=f"A CNN on {arguments.data}", show_header=False)
    for row in (
        ("test accuracy", f"{result['test/acc']:.2%} of {images} images it never saw"),
        (
            "training",
            f"{seconds:.1f} s for {cli.trainer.current_epoch} epochs on {cli.model.device}",
        ),
        ("parameters", f"{parameters:,}"),
        ("checkpoint", str(run / "checkpoints" / "best.ckpt")),
        ("TensorBoard run", str(run)),
        ("picture", str(picture)),
    ):
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print("Next:")
    for command in (
        "make tensorboard",
        "make demo DATA=mnist" if arguments.data == "digits" else "make demo",
        f".venv/bin/gpu-learning fit -c configs/{config.name} --model.init_args.lr 0.003",
    ):
        console.print(f"  {command}", highlight=False, soft_wrap=True)
    return 0
