"""Three small tasks on which to ask what dropout does."""

from typing import Literal

import torch
from torch import Tensor

from datamodules.small import SmallDataModule

SAMPLES = {"random": 20, "rule": 200, "noisy": 200}


class DropoutStudyDataModule(SmallDataModule):
    """Points of a 10-dimensional normal distribution with yes-or-no labels, and 1,000 to test on.

    ``random``: 20 points with labels from a coin: there is nothing to learn, only to memorize.
    ``rule``: 200 points, label 1 where the first five coordinates sum to more than 0.
    ``noisy``: the rule, with a fifth of the training labels wrong and the test labels right.

    Args:
        task: ``random``, ``rule`` or ``noisy``.
        samples: training points, 0 for the task's own number.
        seed: seed of points and labels.

    Raises:
        ValueError: another task, or a negative number of samples.
    """

    yields = "points"

    def __init__(
        self,
        task: Literal["random", "rule", "noisy"] = "noisy",
        samples: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(seed=seed)
        if task not in SAMPLES:
            raise ValueError(f"task must be one of {', '.join(SAMPLES)}, got {task!r}")
        if samples < 0:
            raise ValueError(f"samples must be 0 (the task's own) or more, got {samples}")
        self.save_hyperparameters()
        self.task = task
        self.samples = samples or SAMPLES[task]

    def make(self) -> dict[str, tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed)
        cut = self.samples
        points = torch.randn(cut + 1000, 10, generator=generator)
        if self.task == "random":
            labels = torch.randint(2, (len(points),), generator=generator).float()
        else:
            labels = (points[:, :5].sum(dim=1) > 0).float()
        learned = labels[:cut]
        if self.task == "noisy":
            turned = torch.rand(cut, generator=generator) < 0.2
            learned = torch.where(turned, 1 - learned, learned)
        return {"train": (points[:cut], learned), "test": (points[cut:], labels[cut:])}
