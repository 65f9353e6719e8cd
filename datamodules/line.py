"""Five points on a line."""

import torch
from torch import Tensor

from datamodules.small import SmallDataModule


class LineDataModule(SmallDataModule):
    """Points of y = slope * x + intercept: the course's five to train on, three beyond to test on.

    Args:
        x: training inputs.
        test_x: test inputs.
        slope: slope of the line.
        intercept: intercept of the line.
    """

    yields = "numbers"

    def __init__(
        self,
        x: tuple[float, ...] = (1, 2, 3, 4, 5),
        test_x: tuple[float, ...] = (6, 7, 10),
        slope: float = 2.0,
        intercept: float = 1.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.x = x
        self.test_x = test_x
        self.slope = slope
        self.intercept = intercept

    def make(self) -> dict[str, tuple[Tensor, Tensor]]:
        splits = {}
        for name, values in (("train", self.x), ("test", self.test_x)):
            x = torch.tensor(values, dtype=torch.float32).unsqueeze(1)  # (N, 1)
            splits[name] = (x, self.slope * x + self.intercept)
        return splits
