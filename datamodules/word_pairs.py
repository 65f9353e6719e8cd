"""Pairs of words, related or not, over a vocabulary with padding and an unknown word."""

from collections.abc import Sequence

import torch
from torch import Tensor

from datamodules.small import SmallDataModule

Pair = tuple[str, str, float]

PAD, UNKNOWN = "<pad>", "<unk>"
WORDS = (PAD, UNKNOWN, "the", "cat", "dog", "sat", "on", "mat", "ran", "fast")
PAIRS: tuple[Pair, ...] = (
    ("cat", "dog", 1),
    ("cat", "mat", 0),
    ("dog", "fast", 0),
    ("sat", "ran", 1),
    ("the", "on", 1),
    ("cat", "ran", 0),
)


class WordPairsDataModule(SmallDataModule):
    """Word pairs (B, 2) as indices into ``words``, and whether they are related (B,).

    Index 0 is padding and 1 the unknown word; the course's words follow, or those of ``pairs`` in
    the order in which they occur. All pairs are trained on, and asked for again in the test: the
    lesson is what the embeddings look like, not whether they generalize.

    Args:
        pairs: first word, second word, 1 if they are related and 0 if not; None for the course's.
        batch_size: pairs per training step, 0 for all.
        seed: seed of their order.

    Raises:
        ValueError: no pairs, or a label other than 0 and 1.

    Example::

        data:
          class_path: datamodules.WordPairsDataModule
          init_args: {pairs: [[tea, coffee, 1], [tea, "on", 0]]}  # YAML reads a bare on as true
    """

    yields = "words"

    def __init__(self, pairs: list[Pair] | None = None, batch_size: int = 0, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        self.pairs: Sequence[Pair] = PAIRS if pairs is None else pairs
        if not self.pairs or any(label not in (0, 1) for *_, label in self.pairs):
            raise ValueError(
                "pairs must be a list of [word, word, label] with a label of 0 or 1, such as "
                "[[tea, coffee, 1], [tea, cup, 0]]"
            )
        self.save_hyperparameters()
        self.words = WORDS
        if pairs is not None:
            self.words = tuple(dict.fromkeys((PAD, UNKNOWN, *(w for p in pairs for w in p[:2]))))
        self._index = {word: index for index, word in enumerate(self.words)}

    def encode(self, sentence: str, length: int = 0) -> Tensor:
        """Indices (T,) of the words of a sentence, padded to ``length``; unknown words are 1."""
        indices = [self._index.get(word, 1) for word in sentence.split()]
        return torch.tensor(indices + [0] * (length - len(indices)))

    def make(self) -> dict[str, tuple[Tensor, Tensor]]:
        pairs = torch.tensor([[self._index[word] for word in pair[:2]] for pair in self.pairs])
        related = torch.tensor([float(label) for *_, label in self.pairs])
        return {"train": (pairs, related), "test": (pairs, related)}
