"""``gpu-learning demo``: a CNN learns digits and a small GPT sentences, and both are exported."""

import json
import logging
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.parser import Parser

if TYPE_CHECKING:
    import torch

    from training.cli import TrainCLI

CONFIGS = {"digits": "digits_cnn.yaml", "mnist": "mnist_cnn.yaml"}
CONFIG_FOLDER = Path(__file__).parents[1] / "configs"
MINI_GPT, PROMPT = Path("models") / "demo_mini_gpt", "the cat"
# On a GPU a step of so small a net takes less time than Lightning's loop, and an epoch less than
# its validation and checkpoints: an epoch per turn of the loop, and every tenth one is validated.
ON_GPU = (
    "--trainer.strategy=training.strategies.CUDAGraphStrategy",
    "--trainer.strategy.init_args.steps_per_turn=40",
    "--trainer.num_sanity_val_steps=0",
    "--trainer.log_every_n_steps=40",
    "--trainer.check_val_every_n_epoch=10",
    "--checkpoint.every_n_epochs=10",
)


def main(argv: Sequence[str]) -> int:
    """Trains, tests and exports both; writes ``logs/demo`` and ``models/demo_*``."""
    parser = Parser("gpu-learning demo", description=__doc__)
    parser.add_argument("--data", choices=CONFIGS, default="digits", help="what to train on")
    arguments = parser.parse_args(argv[1:])
    config = CONFIG_FOLDER / CONFIGS[arguments.data]
    model = Path("models") / f"demo_{arguments.data}"
    for folder in (model, MINI_GPT):
        refuse_foreign(folder)

    import torch
    from lightning.pytorch.callbacks import Timer
    from rich.console import Console
    from rich.table import Table

    from training.quiet import quiet

    quiet()
    options = ON_GPU if torch.cuda.is_available() else ()
    cli, timer = build(config, "demo", *options), Timer()
    cli.trainer.callbacks.append(timer)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    seconds = timer.time_elapsed("train")
    speed = cli.trainer.global_step / seconds
    device = cli.trainer.strategy.root_device
    trained = f"{seconds:.1f} s for {cli.trainer.current_epoch} epochs on {device_name(device)}"
    table = Table(title=f"A CNN on {arguments.data}", show_header=False)
    for row in (
        ("training", f"{trained}, {speed:,.0f} steps per second"),
        *scored_and_exported(cli, model),
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
    table = Table(title="A GPT on sentences", show_header=False)
    for row in language_model():
        table.add_row(*row)
    console.print(table)
    console.print("Next:")
    for command, does in next_commands():
        console.print(f"  {command:<40}{does}", highlight=False, soft_wrap=True)
    return 0


def build(config: Path, name: str, *options: str) -> "TrainCLI":
    """Trainer, model and data of a config, logging to ``logs/NAME``."""
    from training.cli import TrainCLI

    log = f"--trainer.logger.init_args.name={name}"
    return TrainCLI(["fit", "-c", str(config), log, *options], run=False)


def scored_and_exported(cli: "TrainCLI", model: Path) -> list[tuple[str, str]]:
    """Tests and exports the best weights; rows of what they scored and where everything is."""
    result = cli.trainer.test(
        datamodule=cli.datamodule, ckpt_path="best", weights_only=True, verbose=False
    )[0]
    run = Path(cli.trainer.log_dir or ".")
    predictions = run.parent / "predictions.png"
    shutil.copyfile(run / "predictions.png", predictions)
    seven = run.parent / "seven.png"
    keep_seven(cli, seven)
    checkpoint = run / "checkpoints" / "best.ckpt"
    export_best(cli, checkpoint, model)
    images = len(cli.datamodule.test_dataloader().tensors[1])
    parameters = sum(parameter.numel() for parameter in cli.model.parameters())
    return [
        ("test accuracy", f"{result['test/acc']:.2%} of {images:,} images it never saw"),
        ("parameters", f"{parameters:,}"),
        ("predictions", str(predictions)),
        ("a test image", str(seven)),
        ("TensorBoard run", str(run)),
        ("checkpoint", str(checkpoint)),
        ("exported model", f"{model}, compared with the net on all test images"),
    ]


def keep_seven(cli: "TrainCLI", path: Path) -> None:
    """Writes the first 7 of the test images, eight times as large, for ``classify`` to read."""
    from PIL import Image

    data = cli.datamodule
    images, labels = data.test_dataloader().tensors
    pixels = (images[labels == 7][0, 0].cpu() * data.std + data.mean).clamp(0, 1) * 255
    image = Image.fromarray(pixels.byte().numpy())
    image.resize((8 * image.width, 8 * image.height), Image.Resampling.NEAREST).save(path)


def language_model() -> list[tuple[str, str]]:
    """Trains the course's MiniGPT, which exports itself; rows of what it scored and writes."""
    from lightning.pytorch.callbacks import Timer

    from callbacks import ExportText
    from inference.text.generate import TextGenerator
    from inference.text.sampling import SamplingOptions

    cli, timer = build(CONFIG_FOLDER / "mini_gpt.yaml", "demo/mini_gpt"), Timer()
    cli.trainer.callbacks.append(timer)
    for callback in cli.trainer.callbacks:
        if isinstance(callback, ExportText):
            callback.folder = MINI_GPT
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    seconds, steps = timer.time_elapsed("train"), cli.trainer.global_step
    device = device_name(cli.trainer.strategy.root_device)
    greedy = SamplingOptions(max_new_tokens=40, temperature=0.0)
    [text] = TextGenerator.load(MINI_GPT).generate([PROMPT], greedy)
    return [
        ("training", f"{seconds:.1f} s for {steps:,} steps on {device}"),
        ("validation loss", f"{cli.trainer.callback_metrics['val/loss']:.3f} nats per character"),
        ("parameters", f"{sum(parameter.numel() for parameter in cli.model.parameters()):,}"),
        ("it writes", f"{PROMPT} | {text.text.strip()}"),
        ("exported model", str(MINI_GPT)),
    ]


def next_commands() -> list[tuple[str, str]]:
    """What to type after the demo, and what it does; ``make setup`` where the server is missing."""
    missing = not all(map(find_spec, ("fastapi", "uvicorn")))
    here = Path("Makefile").is_file() and CONFIG_FOLDER.samefile("configs")
    setup = [
        (
            "make setup",
            "adds language models, export, server, kernels and sweeps",
        )
    ]
    command = ".venv/bin/gpu-learning" if here else "gpu-learning"
    tensorboard = "make tensorboard" if here else "tensorboard --logdir logs"
    return [
        (tensorboard, "the curves of this run, at http://localhost:6006"),
        *(setup if missing and here else ()),
        (f"{command} serve models/", "draw and write: http://127.0.0.1:11434/ui"),
        (f"{command} lessons", "the course, from the first tensor on"),
    ]


def refuse_foreign(folder: Path) -> None:
    """Raises ValueError where ``folder`` holds what this command did not export."""
    from inference.manifest import MANIFEST

    if not folder.exists():
        return
    manifest = folder / MANIFEST
    made = json.loads(manifest.read_text()) if manifest.is_file() else {}
    checkpoint = Path(made.get("source", {}).get("checkpoint", ""))
    if checkpoint.parts[:2] != ("logs", "demo"):
        raise ValueError(
            f"{folder} was not made by gpu-learning demo, which would replace it; rename it"
        )


def export_best(cli: "TrainCLI", checkpoint: Path, folder: Path) -> None:
    """Exports the checkpoint to ``folder``, checked as ``gpu-learning export`` checks.

    ONNX where its packages are; ``make demo`` installs the core, and TorchScript needs no more.
    """
    from exporting.images import FORMATS, export, fresh_copy, make_source

    format = "onnx" if all(map(find_spec, FORMATS["onnx"].needs)) else "torchscript"
    source = make_source(checkpoint, type(cli.model), fresh_copy(cli.datamodule))
    export(source, folder, [format], "cpu")


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
