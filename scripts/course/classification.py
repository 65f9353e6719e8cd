"""Steps 9, 10 and 12: two classes, and handwritten digits."""

import shutil
from pathlib import Path
from typing import Any

import torch

from datamodules.mnist import FILES
from lightning_modules.evaluate import evaluate
from scripts.course.runner import Run, Skipped
from training.cli import TrainCLI


def two_classes(run: Run) -> dict[str, Any]:
    """Two clouds of points in the plane."""
    cli = run.fit("binary_classifier")
    points, labels = (tensor.cpu() for tensor in cli.datamodule.splits["train"])
    test_points, test_labels = (tensor.cpu() for tensor in cli.datamodule.splits["test"])
    logits = evaluate(cli.model, points)
    probabilities = evaluate(cli.model, test_points).sigmoid()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    right = (probabilities > 0.5).float() == test_labels
    for point, value in zip(test_points.tolist(), probabilities.tolist(), strict=True):
        print(f"{point}: class 1 with {value:.4f}")
    shutil.copy(run.folder / "run" / "boundary.png", run.folder / "boundary.png")
    return {
        "loss at epoch 800": loss.item(),
        "accuracy": ((logits > 0).float() == labels).float().mean().item(),
        "test points right": int(right.sum()),
    }


def need_mnist() -> None:
    """Raises Skipped where MNIST is not in the data folder: a lesson does not download."""
    raw = Path("data") / "MNIST" / "raw"
    if not all((raw / name).is_file() for name in FILES):
        raise Skipped(
            f"needs MNIST in {raw}; gpu-learning fit -c configs/mnist_mlp.yaml downloads it"
        )


def _digits(run: Run, config: str) -> tuple[TrainCLI, dict[str, Any]]:
    need_mnist()
    options = ["--trainer.max_epochs=1"] if run.reduced else []
    # All 60,000 images, as in the course.
    cli = run.fit(config, "--data.init_args.val_size=0", *options)
    scores = cli.trainer.test(cli.model, cli.datamodule, verbose=False)[0]
    for name in ("predictions", "confusion"):
        for picture in (run.folder / "run").glob(f"{name}.png"):
            shutil.copy(picture, run.folder / picture.name)
    parameters = sum(parameter.numel() for parameter in cli.model.parameters())
    return cli, {"parameters": parameters, "test accuracy": scores["test/acc"]}


def mnist_mlp(run: Run) -> dict[str, Any]:
    """Linear layers only."""
    return _digits(run, "mnist_mlp")[1]


def mnist_cnn(run: Run) -> dict[str, Any]:
    """Convolutions."""
    return _digits(run, "mnist_cnn")[1]
