"""Words as vectors that know which of them belong together."""

from typing import Literal

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]


class WordSimilarity(pl.LightningModule):
    """An embedding, and a score of two words that is the logit of "related".

    The course's score is a linear layer over both vectors side by side. With ``score: dot`` it is
    their dot product, which only vectors of one direction make large. Index 0 is padding, whose
    vector stays zero. ``predict_step`` returns the probability that two words are related.

    Args:
        num_words: size of the vocabulary, padding and the unknown word included.
        dim: width of an embedding.
        score: ``linear`` or ``dot``.
        lr: learning rate of Adam.

    Raises:
        ValueError: another score, or a data module with another number of words.
    """

    reads = "words"

    def __init__(
        self,
        num_words: int = 10,
        dim: int = 4,
        score: Literal["linear", "dot"] = "linear",
        lr: float = 0.01,
    ) -> None:
        super().__init__()
        if score not in ("linear", "dot"):
            raise ValueError(f"score must be linear or dot, got {score!r}")
        self.save_hyperparameters()
        self.lr = lr
        self.net = nn.Embedding(num_words, dim, padding_idx=0)
        self.score = nn.Linear(2 * dim, 1) if score == "linear" else None
        self.example_input_array = torch.zeros(1, 2, dtype=torch.long)

    def setup(self, stage: str) -> None:
        words = getattr(getattr(self.trainer, "datamodule", None), "words", None)
        if words is not None and len(words) != self.net.num_embeddings:
            raise ValueError(
                f"the data has {len(words)} words, padding and the unknown word included, and the "
                f"model {self.net.num_embeddings}; set --model.init_args.num_words {len(words)}"
            )

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits (B,) of word pairs (B, 2)."""
        vectors = self.net(pairs)  # (B, 2, dim)
        if self.score is not None:
            return self.score(vectors.flatten(1)).squeeze(1)
        return vectors.prod(dim=1).sum(dim=1)

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
