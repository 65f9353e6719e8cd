"""Log-probabilities of tokens: the log-softmax of the model's own logits.

Temperature, filters, penalties, biases and grammars change what is sampled, not these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from inference.text.options import MOST_ALTERNATIVES

if TYPE_CHECKING:
    from inference.text.slot import Slot

_ROWS = 64  # of a prompt's logits at a time; those of all positions can be hundreds of megabytes


class TokenScore(NamedTuple):
    """A token, its log-probability, and the most likely tokens at its position, best first.

    ``offset`` is where it begins in the generated text, in characters.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    offset: int = 0


class Scores(NamedTuple):
    """Scores of tokens as tensors: of those that were chosen (n,), and the best (n, k)."""

    chosen: Tensor
    best: Tensor
    best_ids: Tensor

    @classmethod
    def empty(cls, count: int, vocab_size: int, device: torch.device) -> Scores:
        best = torch.zeros(count, min(MOST_ALTERNATIVES, vocab_size), device=device)
        return cls(torch.zeros(count, device=device), best, best.long())

    @classmethod
    def of(cls, logits: Tensor, tokens: Tensor, vocab_size: int) -> Scores:
        """Scores of tokens (n,) under logits (n, V) of all of a model's rows.

        Args:
            logits: before anything was done to them.
            tokens: what was chosen, or came next in a prompt.
            vocab_size: tokens of the tokenizer, the only ones among the best.
        """
        logprobs = logits.float().log_softmax(dim=-1)
        best, ids = logprobs[:, :vocab_size].topk(min(MOST_ALTERNATIVES, vocab_size), dim=-1)
        return cls(logprobs.gather(1, tokens[:, None])[:, 0], best, ids)

    def listed(self, tokens: list[int], count: int) -> list[TokenScore]:
        """The same as Python numbers, ``count`` of the best each."""
        rows = zip(
            tokens,
            self.chosen.tolist(),
            self.best[:, :count].tolist(),
            self.best_ids[:, :count].tolist(),
            strict=True,
        )
        return [
            TokenScore(token, logprob, tuple(zip(ids, best, strict=True)))
            for token, logprob, best, ids in rows
        ]


def score_prompt(model: Any, hidden: Tensor, slot: Slot, vocab_size: int) -> None:
    """Scores the tokens of a slot's prompt but the first, where its generation asks for that.

    Args:
        model: makes logits of hidden states.
        hidden: its states (T, C) at the tokens but the last, perhaps padded.
        slot: with the generation.
        vocab_size: tokens of the tokenizer.
    """
    generation = slot.generation
    if generation is None or not generation.options.score_prompt:
        return
    for start in range(0, slot.position, _ROWS):
        logits = model.logits(hidden[start : min(start + _ROWS, slot.position)])
        following = slot.tokens[start + 1 : start + 1 + len(logits)]
        scores = Scores.of(logits, torch.tensor(following, device=logits.device), vocab_size)
        generation.prompt_scores += scores.listed(following, generation.options.logprobs or 0)
