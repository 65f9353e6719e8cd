"""Yes or no."""

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import binary_accuracy

from lightning_modules.clippable import clippable
from lightning_modules.nets import MLP

Batch = tuple[Tensor, Tensor]


class BinaryClassifier(pl.LightningModule):
    """MLP with one logit; 2-16-1 has 65 parameters.

    The loss is computed from the logit: ``log(sigmoid(x))`` of a confident net is ``log(0)``, the
    combined form is exact for every x. ``predict_step`` returns the probability of class 1.

    Logs ``train/loss``, ``test/loss`` and ``test/acc``.

    Args:
        inputs: values per sample.
        hidden: widths of the hidden layers.
        dropout: probability with which a hidden value is set to zero in training.
        lr: learning rate of Adam.
    """

    reads = "points"

    def __init__(
        self,
        inputs: int = 2,
        hidden: tuple[int, ...] = (16,),
        dropout: float = 0.0,
        lr: float = 0.01,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.net = MLP([inputs, *hidden, 1], dropout=dropout)
        self.example_input_array = torch.zeros(1, inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B,) of samples (B, inputs)."""
        return self.net(x).squeeze(1)

    def _step(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        inputs, labels = batch
        logits = self(inputs)
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        self.log(f"{stage}/loss", loss, batch_size=len(inputs))
        return loss, logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, "train")[0]

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        _, logits = self._step(batch, "test")
        accuracy = binary_accuracy(logits, batch[1].int())
        self.log("test/acc", accuracy, batch_size=len(logits))

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Probability (B,) of class 1."""
        return self(batch[0]).sigmoid()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return clippable(torch.optim.Adam(self.parameters(), lr=self.lr, fused=True))
