"""Steps 9, 10 and 12: two classes, and handwritten digits."""

import shutil
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import symbolic_trace
from torch.fx.passes.shape_prop import ShapeProp

from course.runner import Run, Skipped
from course.schedules import read
from datamodules.mnist import FILES
from lightning_modules import MNISTMLP, BinaryClassifier
from lightning_modules.evaluate import evaluate
from training.cli import TrainCLI


def two_classes(run: Run) -> dict[str, Any]:
    """Two clouds of points, by the Trainer and with the course's own random numbers."""
    # The first step that is logged is that of epoch 800, counted from 0.
    cli = run.fit("binary_classifier", "--trainer.log_every_n_steps=801")
    points, labels = (tensor.cpu() for tensor in cli.datamodule.splits["train"])
    test_points, test_labels = (tensor.cpu() for tensor in cli.datamodule.splits["test"])
    logits = evaluate(cli.model, points)
    probabilities = evaluate(cli.model, test_points).sigmoid()
    right = (probabilities > 0.5).float() == test_labels
    for point, value in zip(test_points.tolist(), probabilities.tolist(), strict=True):
        answer = f"class {value > 0.5:d}, probability of class 1: {value:.4f}"
        print(f"({point[0]:.1f}, {point[1]:.1f}): {answer}")
    (run.folder / "run" / "boundary.png").replace(run.folder / "boundary.png")
    from_logits = F.binary_cross_entropy_with_logits(logits, labels)
    from_probabilities = F.binary_cross_entropy(logits.sigmoid(), labels)
    return {
        "losses at epochs 0, 200, ..., 800": the_courses_losses(),
        "loss at epoch 800": dict(read(run, "run", "train/loss"))[800],
        "accuracy": ((logits > 0).float() == labels).float().mean().item(),
        "test points right": int(right.sum()),
        "BCELoss of the sigmoid - loss of the logit": (from_probabilities - from_logits)
        .abs()
        .item(),
    }


def the_courses_losses() -> list[float]:
    """Of the course's own run: seed 42 for the points and then the weights, all on the CPU."""
    torch.manual_seed(42)
    clouds = [torch.randn(50, 2) + center for center in (2.0, 6.0)]
    points, labels = torch.cat(clouds), torch.arange(2).repeat_interleave(50).float()
    net = BinaryClassifier()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(801):
        loss = F.binary_cross_entropy(net(points).sigmoid(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[::200]


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
    cli, values = _digits(run, "mnist_mlp")
    images, labels = next(iter(cli.datamodule.train_dataloader()))
    print(f"a batch: images {tuple(images.shape)}, labels {labels[:8].tolist()}, ...")
    logits = evaluate(cli.model, images)
    probabilities = logits.softmax(dim=1)
    print(
        f"the first image: {logits.argmax(dim=1)[0]} with {probabilities.max(dim=1).values[0]:.1%}"
    )
    return values | {
        "shape of a batch": list(images.shape),
        "argmax of logits is that of softmax": torch.equal(
            logits.argmax(dim=1), probabilities.argmax(dim=1)
        ),
    }


def mnist_cnn(run: Run) -> dict[str, Any]:
    """Convolutions, and the shapes on the way through the net."""
    cli, values = _digits(run, "mnist_cnn")
    flat = sum(parameter.numel() for parameter in MNISTMLP().parameters())
    steps = shapes(cli.model.net.cpu().eval())
    for name, shape in steps:
        print(f"{name:<14} {shape}")
    return values | {
        "shapes through the net": [shape for name, shape in steps if not name.startswith("relu")],
        "shape of the first filters": list(cli.model.net.conv1.weight.shape),
        "parameters / those of the linear net": values["parameters"] / flat,
    }


def shapes(net: torch.nn.Module) -> list[tuple[str, list[int]]]:
    """Name and output shape of every operation of ``net`` on one image."""
    graph = symbolic_trace(net)
    ShapeProp(graph).propagate(torch.zeros(1, 1, 28, 28))
    nodes = [node for node in graph.graph.nodes if node.op.startswith("call")]
    return [(node.name, list(node.meta["tensor_meta"].shape)) for node in nodes]
