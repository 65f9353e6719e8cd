"""``gpu-learning demo``: a CNN learns digits, is tested, and shows what it learned."""

import argparse
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CONFIGS = {"digits": "digits_cnn.yaml", "mnist": "mnist_cnn.yaml"}
CONFIG_FOLDER = Path(__file__).parents[1] / "configs"
# On a GPU a step of so small a net takes less time than Lightning's loop, and an epoch less than
# its validation and checkpoints: an epoch per turn of the loop, and every tenth one is validated.
ON_GPU = (
    "--trainer.strategy=strategies.CUDAGraphStrategy",
    "--trainer.strategy.init_args.steps_per_turn=40",
    "--trainer.num_sanity_val_steps=0",
    "--trainer.check_val_every_n_epoch=10",
    "--checkpoint.every_n_epochs=10",
)


def main(argv: Sequence[str]) -> int:
    """Trains and tests, prints a table and writes ``logs/demo/predictions.png``."""
    parser = argparse.ArgumentParser("gpu-learning demo", description=__doc__)
    parser.add_argument("--data", choices=CONFIGS, default="digits", help="what to train on")
    arguments = parser.parse_args(argv[1:])
    config = CONFIG_FOLDER / CONFIGS[arguments.data]

    import torch
    from lightning.pytorch.callbacks import Timer
    from rich.console import Console
    from rich.table import Table

    from training.cli import TrainCLI
    from training.quiet import quiet

    quiet()
    options = ["--trainer.logger.init_args.name=demo"]
    if torch.cuda.is_available():
        options += ON_GPU
    cli = TrainCLI(["fit", "-c", str(config), *options], run=False)
    timer = Timer()
    cli.trainer.callbacks.append(timer)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    seconds = timer.time_elapsed("train")
    speed = cli.trainer.global_step / seconds
    device = cli.trainer.strategy.root_device
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
            f"{seconds:.1f} s for {cli.trainer.current_epoch} epochs on {device_name(device)}, "
            f"{speed:,.0f} steps per second",
        ),
        ("parameters", f"{parameters:,}"),
        ("checkpoint", str(run / "checkpoints" / "best.ckpt")),
        ("TensorBoard run", str(run)),
        ("picture", str(picture)),
    ):
        table.add_row(*row)
    console = Console()
    console.print(table)
    if device.type == "cuda":
        on_cpu = cpu_speed(config)
        console.print(
            f"The same steps on this machine's CPU, measured for a second: {on_cpu:,.0f} steps per "
            f"second; the GPU is {speed / on_cpu:.1f} times as fast."
        )
    console.print("Next:")
    for command in (
        "make tensorboard",
        "make demo DATA=mnist" if arguments.data == "digits" else "make demo",
        f".venv/bin/gpu-learning fit -c configs/{config.name} --model.init_args.lr 0.003",
    ):
        console.print(f"  {command}", highlight=False, soft_wrap=True)
    return 0


def device_name(device: "torch.device") -> str:
    """``NVIDIA H200`` or ``the CPU``."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def cpu_speed(config: Path) -> float:
    """Optimizer steps per second of the same training on the CPU, measured for one second."""
    from lightning.pytorch.callbacks import Timer

    from training.cli import TrainCLI

    options = (
        *("--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.callbacks=null"),
        *("--trainer.enable_checkpointing=false", "--trainer.limit_val_batches=0"),
        *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
    )
    logging.disable(logging.INFO)  # what Lightning says of a run, it has said
    cli = TrainCLI(["fit", "-c", str(config), *options], run=False)
    timer = Timer(duration={"seconds": 1}, verbose=False)
    cli.trainer.callbacks.append(timer)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    logging.disable(logging.NOTSET)
    return cli.trainer.global_step / timer.time_elapsed("train")
