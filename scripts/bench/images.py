"""``gpu-learning bench images``: how well a classifier reads pages of every kind, kind by kind."""

import argparse
import json
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datamodules import DigitsDataModule, ImageDataModule, MNISTDataModule
from inference import Classifier, load
from inference.images.preprocessing import to_mnist
from scripts.bench.pages import KINDS
from scripts.bench.timing import device_name, seconds
from scripts.parser import Parser

DATA: dict[str, type[ImageDataModule]] = {"mnist": MNISTDataModule, "digits": DigitsDataModule}


def read_digits(data: str, split: str, root: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Digits (N, 28, 28) as uint8 and their labels (N,), in an order that ``seed`` decides.

    Args:
        data: ``mnist`` or ``digits``.
        split: ``test``, or ``val``: the images cut from the training split by the default seed.
        root: folder of the data.
        seed: of the order.
    """
    module = DATA[data](root=root, eval_batch_size=10_000)
    module.prepare_data()
    module.setup("test" if split == "test" else "validate")
    loader: Any = module.test_dataloader() if split == "test" else module.val_dataloader()
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    levels = (images[order, 0] * torch.tensor(module.std) + torch.tensor(module.mean)) * 255
    return levels.round().to(torch.uint8).numpy(), labels[order].numpy()


def read_pages(
    model: Classifier, kind: str, digits: np.ndarray, labels: np.ndarray, timed: int = 20
) -> dict[str, Any]:
    """How many pages of a kind are read right, and the time that framing the first ones takes."""
    right, refused, times = 0, 0, []
    for number, (digit, label) in enumerate(zip(digits, labels, strict=True)):
        file = KINDS[kind](digit, np.random.default_rng(number))
        (answer,) = model.predict_each([file])
        if isinstance(answer, ValueError):
            refused += 1
            continue
        right += answer.digit == label
        if len(times) < timed:
            times.append(seconds(partial(to_mnist, file)))
    return {
        "n": len(labels),
        "right": int(right),
        "accuracy": int(right) / len(labels),
        "refused": refused,
        "milliseconds": 1000 * statistics.median(times) if times else None,
    }


def main(argv: Sequence[str]) -> int:
    """Prints accuracy and the time of reading a page, one line per kind."""
    arguments = _parse(argv)
    model = load(arguments.model, arguments.runtime)
    if not isinstance(model, Classifier):
        raise ValueError(f"{arguments.model} is not an image classifier")
    digits, labels = read_digits(arguments.data, arguments.split, arguments.root, arguments.seed)
    digits, labels = digits[: arguments.count], labels[: arguments.count]
    rows = {}
    for kind in arguments.kinds:
        rows[kind] = row = read_pages(model, kind, digits, labels)
        if not arguments.json:
            time = f", {row['milliseconds']:.1f} ms" if row["milliseconds"] else ""
            counts = f"{row['right']} of {row['n']}, {row['refused']} refused"
            print(f"{kind:<32}{row['accuracy']:>8.1%}  {counts}{time}", flush=True)
    if arguments.json:
        print(json.dumps({"device": device_name("cpu"), "kinds": rows}, indent=2))
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("gpu-learning bench images", description=__doc__)
    parser.add_argument("model", type=Path, help="models/NAME")
    parser.add_argument("--runtime", help="exported format to run; the best by default")
    parser.add_argument("--data", choices=sorted(DATA), default="mnist")
    parser.add_argument("--split", choices=["test", "val"], default="test")
    parser.add_argument("--root", default="data", help="folder of the data")
    parser.add_argument("--count", type=int, default=200, help="pages of each kind")
    parser.add_argument("--seed", type=int, default=0, help="which digits are taken")
    parser.add_argument(
        "--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), metavar="KIND"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv[1:])
    if arguments.count < 1:
        parser.error("--count must be at least 1")
    return arguments
