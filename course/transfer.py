"""Step 15: a trained net put to a new task."""

import hashlib
import shutil
from statistics import mean
from typing import Any

import torch

from course.classification import need_mnist
from course.runner import Run

SEEDS = 3


def transfer(run: Run) -> dict[str, Any]:
    """A CNN for ten digits, then a new last layer for five of them, with three seeds."""
    need_mnist()
    # Not the course's settings but those with the best validation accuracy for its net.
    run.fit("mnist_cnn_backbone", tag="backbone")
    backbone = run.folder / "backbone" / "checkpoints" / "best.ckpt"
    sha256 = hashlib.sha256(backbone.read_bytes()).hexdigest()
    accuracies, trained, referred = [], set(), []
    for seed in range(SEEDS):
        cli = run.fit(
            "transfer",
            f"--model.init_args.backbone={backbone}",
            f"--seed_everything={seed}",
            tag=f"seed-{seed}",
        )
        scores = cli.trainer.test(cli.model, cli.datamodule, verbose=False)[0]
        accuracies.append(scores["test/acc"])
        trained.add(sum(p.numel() for p in cli.model.parameters() if p.requires_grad))
        last = run.folder / f"seed-{seed}" / "checkpoints" / "last.ckpt"
        checkpoint = torch.load(last, weights_only=True, map_location="cpu")
        referred.append(checkpoint["backbone"]["sha256"] == sha256)
        print(f"seed {seed}: {scores['test/acc']:.4%} of the test images of 0 to 4")
    shutil.copy(run.folder / "seed-0" / "mistakes.png", run.folder / "mistakes.png")
    print(f"picture: {run.folder / 'mistakes.png'}", flush=True)
    return {
        "parameters trained": trained.pop() if len(trained) == 1 else -1,
        "test accuracy, mean of 3 seeds": mean(accuracies),
        "checkpoint names the backbone": all(referred),
    }
