"""A language model of transformers together with its loss."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CausalLoss(nn.Module):
    """A causal language model of transformers, and the loss of its next tokens.

    Both are in one net so that torch.compile sees the logits, which are the largest tensor by far,
    and their loss together. The rows of the frozen output layer are padded to a multiple of 64,
    which matrix units want: GPT-2 has 50,257.

    Args:
        lm: a ``GPT2LMHeadModel``, adapted or not, whose attention takes a mask as it is.
    """

    lm: Any  # transformers' own, or within peft's wrapper
    head: Tensor

    def __init__(self, lm: Any) -> None:
        super().__init__()
        self.lm = lm
        weight = lm.get_output_embeddings().weight.detach()
        self.vocab_size = len(weight)
        rows = -len(weight) % 64
        self.register_buffer("head", F.pad(weight, (0, 0, 0, rows)), persistent=False)

    @property
    def base(self) -> Any:
        """The ``GPT2LMHeadModel`` itself; adapters are within its layers."""
        return self.lm.get_base_model() if hasattr(self.lm, "get_base_model") else self.lm

    def hidden_states(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Last hidden states (B, T, C) of tokens (B, T); see :meth:`forward`."""
        positions = mask = None
        if segments is not None:
            columns = torch.arange(ids.shape[1], device=ids.device)
            begins = F.pad(segments[:, 1:] != segments[:, :-1], (1, 0), value=True)
            starts = torch.where(begins, columns, 0).cummax(dim=1).values  # (B, T)
            positions = columns - starts
            same = segments[:, None, :, None] == segments[:, None, None, :]
            mask = same & (columns[:, None] >= columns)  # (B, 1, T, T)
        return self.base.transformer(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state

    def logits(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Logits (B, T, vocab_size)."""
        return self._of_hidden(self.hidden_states(ids, segments))

    def _of_hidden(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.head)[..., : self.vocab_size]

    def forward(self, ids: Tensor, targets: Tensor, segments: Tensor | None = None) -> Tensor:
        """Mean loss of the targets, a scalar.

        Args:
            ids: tokens (B, T). Nothing attends to what pads a row at its right.
            targets: the token after each, (B, T); -100 does not count.
            segments: number of the example that each token of a packed row belongs to, (B, T):
                none attends to another, and the positions of each begin at 0. None for one per row.
        """
        return self.loss(self.hidden_states(ids, segments), targets)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of the last hidden states (B, T, C)."""
        logits = self._of_hidden(hidden).flatten(0, 1).float()
        return F.cross_entropy(logits, targets.flatten())
