"""What every regressor shares: loss and optimizer."""

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.clippable import clippable
from lightning_modules.nets import MLP

Batch = tuple[Tensor, Tensor]


class Regressor(pl.LightningModule):
    """Mean squared error of ``self.net``, which a subclass builds; (B, 1) -> (B, 1).

    Logs ``train/loss`` and ``test/loss``, both in squared units of the target.
    """

    reads = "numbers"

    net: nn.Module

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.example_input_array = torch.zeros(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def _step(self, batch: Batch, stage: str) -> Tensor:
        inputs, targets = batch
        loss = F.mse_loss(self(inputs), targets)
        self.log(f"{stage}/loss", loss, batch_size=len(inputs))
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return clippable(torch.optim.Adam(self.parameters(), lr=self.lr, fused=True))


class LineRegressor(Regressor):
    """The course's 1-8-1 net without an activation: 25 parameters that compute one line.

    Args:
        hidden: width of the hidden layer; 0 for a single weight and bias.
        lr: learning rate of Adam.

    Raises:
        ValueError: a negative ``hidden``.
    """

    def __init__(self, hidden: int = 8, lr: float = 0.01) -> None:
        super().__init__(lr)
        if hidden < 0:
            raise ValueError(f"hidden must be 0 (a single layer) or more, got {hidden}")
        self.save_hyperparameters()
        self.net = MLP([1, hidden, 1] if hidden else [1, 1], "none")
