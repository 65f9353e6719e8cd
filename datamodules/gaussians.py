"""Two clouds of points in the plane."""

import torch
from torch import Tensor

from datamodules.small import SmallDataModule

Center = tuple[float, float]


class GaussiansDataModule(SmallDataModule):
    """The course's two clouds: label 0 around (2, 2) and 1 around (6, 6), half of the points each.

    The test points are four fixed ones: both centers, and one beside each.

    Args:
        samples: training points.
        center0: center of class 0.
        center1: center of class 1.
        std: standard deviation of both clouds.
        seed: seed of the points; 42 has the course's.

    Raises:
        ValueError: an odd number of samples, or fewer than 2.
    """

    yields = "points"

    def __init__(
        self,
        samples: int = 100,
        center0: Center = (2.0, 2.0),
        center1: Center = (6.0, 6.0),
        std: float = 1.0,
        seed: int = 42,
    ) -> None:
        super().__init__(seed=seed)
        if samples < 2 or samples % 2:
            raise ValueError(f"samples must be an even number of at least 2, got {samples}")
        self.save_hyperparameters()
        self.samples = samples
        self.centers = torch.tensor([center0, center1], dtype=torch.float32)  # (2, 2)
        self.std = std

    def make(self) -> dict[str, tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed)
        half = self.samples // 2
        # One class after the other: the course draws them in this order.
        points = torch.cat(
            [
                torch.randn(half, 2, generator=generator) * self.std + center
                for center in self.centers
            ]
        )
        beside = self.centers + torch.tensor([[-0.5, -0.2], [-0.5, 0.2]])
        return {
            "train": (points, torch.arange(2).repeat_interleave(half).float()),
            "test": (torch.cat([self.centers, beside]), torch.tensor([0.0, 1.0, 0.0, 1.0])),
        }
