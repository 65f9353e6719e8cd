"""Points on a curve that no straight line follows."""

import math
from typing import Literal

import torch
from torch import Tensor

from datamodules.small import SmallDataModule

CURVES = {"abs": torch.abs, "sine": lambda x: torch.sin(x * (math.pi / 2))}


class CurveDataModule(SmallDataModule):
    """Points of |x| or of a sine of period 4, for x from -2 to 2.

    The test points lie between the training points.

    Args:
        curve: ``abs`` or ``sine``.
        points: how many to learn from.

    Raises:
        ValueError: another curve, or fewer than two points.
    """

    yields = "numbers"

    def __init__(self, curve: Literal["abs", "sine"] = "abs", points: int = 65) -> None:
        super().__init__()
        if curve not in CURVES:
            raise ValueError(f"curve must be one of {', '.join(CURVES)}, got {curve!r}")
        if points < 2:
            raise ValueError(f"points must be at least 2, got {points}")
        self.save_hyperparameters()
        self.curve = curve
        self.points = points

    def make(self) -> dict[str, tuple[Tensor, Tensor]]:
        x = torch.linspace(-2, 2, self.points).unsqueeze(1)  # (N, 1)
        between = (x[1:] + x[:-1]) / 2
        curve = CURVES[self.curve]
        return {"train": (x, curve(x)), "test": (between, curve(between))}
