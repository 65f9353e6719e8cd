"""Six pairs of words, related or not."""

import torch
from torch import Tensor

from datamodules.small import SmallDataModule

PAIRS = (
    ("cat", "dog", 1.0),
    ("king", "queen", 1.0),
    ("car", "truck", 1.0),
    ("cat", "car", 0.0),
    ("king", "truck", 0.0),
    ("dog", "queen", 0.0),
)
WORDS = tuple(dict.fromkeys(word for pair in PAIRS for word in pair[:2]))


class WordPairsDataModule(SmallDataModule):
    """Word pairs (B, 2) as positions in ``words``, and whether they are related (B,).

    All six pairs are learned, and asked for again in the test: the lesson is what the embeddings
    look like, not whether they generalise.
    """

    gives = "words"

    words = WORDS

    def __init__(self, batch_size: int = 0, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        self.save_hyperparameters()

    def make(self) -> dict[str, tuple[Tensor, Tensor]]:
        index = {word: position for position, word in enumerate(WORDS)}
        pairs = torch.tensor([[index[first], index[second]] for first, second, _ in PAIRS])
        related = torch.tensor([label for *_, label in PAIRS])
        return {"train": (pairs, related), "test": (pairs, related)}
