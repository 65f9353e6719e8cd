"""Two clouds of points in the plane."""

import torch
from torch import Tensor

from datamodules.small import SmallDataModule

# Two points of each class, where there is no doubt.
TEST_POINTS = ((2.0, 2.0), (3.0, 1.5), (-2.0, -2.0), (-1.5, -3.0))
TEST_LABELS = (1.0, 1.0, 0.0, 0.0)


class GaussiansDataModule(SmallDataModule):
    """Points of two Gaussians, label 1 around (2, 2) and 0 around (-2, -2), in equal shares.

    The test points are four fixed ones, two of each class.

    Args:
        samples: how many to learn from.
        std: standard deviation of both clouds.
        seed: seed of the points.
    """

    gives = "points"

    def __init__(self, samples: int = 100, std: float = 0.8, seed: int = 0) -> None:
        super().__init__(seed=seed)
        if samples < 2 or samples % 2:
            raise ValueError(f"samples must be an even number of at least 2, got {samples}")
        self.save_hyperparameters()
        self.samples = samples
        self.std = std

    def make(self) -> dict[str, tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed)
        labels = torch.arange(self.samples) % 2
        centres = (4.0 * labels - 2.0).unsqueeze(1)  # (N, 1), the same for both coordinates
        points = centres + self.std * torch.randn(self.samples, 2, generator=generator)
        return {
            "train": (points, labels.float()),
            "test": (torch.tensor(TEST_POINTS), torch.tensor(TEST_LABELS)),
        }
