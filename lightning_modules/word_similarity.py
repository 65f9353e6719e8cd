"""Words as vectors that know which of them belong together."""

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]


class WordSimilarity(pl.LightningModule):
    """An embedding; the dot product of two words is the logit of "related".

    ``predict_step`` gives the probability that two words are related.

    Args:
        num_words: size of the vocabulary.
        dim: width of an embedding.
        lr: learning rate of Adam.
    """

    reads = "words"

    def __init__(self, num_words: int = 6, dim: int = 4, lr: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.net = nn.Embedding(num_words, dim)
        self.example_input_array = torch.zeros(1, 2, dtype=torch.long)

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits (B,) of word pairs (B, 2)."""
        first, second = self.net(pairs).unbind(dim=1)  # (B, dim) each
        return (first * second).sum(dim=1)

    def _step(self, batch: Batch, stage: str) -> Tensor:
        pairs, related = batch
        loss = F.binary_cross_entropy_with_logits(self(pairs), related)
        self.log(f"{stage}/loss", loss, batch_size=len(pairs))
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Probability (B,) that the words of a pair are related."""
        return self(batch[0]).sigmoid()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)
