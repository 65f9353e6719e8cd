"""Windows of a long text that lies on the training device."""

from typing import Any

import torch
from torch import Tensor

from datamodules.resident import ResidentLoader

# Targets that cross_entropy leaves out.
IGNORED = -100


class WindowLoader(ResidentLoader):
    """Batches ``(inputs, targets)`` of windows of a text, targets one token further on.

    Both are int64 of shape (B, context). A ResidentLoader whose rows are the windows' starts, so
    resume and sharing between processes are the same.

    For training (``batches`` given) every batch has the same shape. Windows lie side by side from
    a random offset and come in random order, which sees each token once; when the text is used up
    it is cut again from another offset. Without ``batches`` the windows lie side by side from the
    first token on and each target counts exactly once: the last window begins early enough to be
    whole, and its targets that the one before had already are ``IGNORED``.

    Args:
        text: token numbers (N,), int32, on the training device.
        context: inputs a window.
        batch_size: windows per batch and process.
        batches: batches per epoch and process, 0 for one pass in strides.
        seed: seed of offsets and order; the same in every process.
        rank: this process's number.
        world_size: how many processes share the text.
        shuffle: with false every training epoch has the text's first windows, in their order.

    Raises:
        ValueError: a text of fewer than ``context + 1`` tokens, or a batch size below 1.
    """

    def __init__(
        self,
        text: Tensor,
        context: int,
        batch_size: int,
        batches: int = 0,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
    ) -> None:
        if len(text) <= context:
            raise ValueError(
                f"a text of {len(text)} tokens has no window of {context} tokens and the one that "
                "follows; give a longer text or a smaller context"
            )
        super().__init__([text], batch_size, shuffle and batches > 0, seed, rank, world_size)
        self._strided = batches == 0
        self.context = context
        self.rows = batches * batch_size * world_size or -(-(len(text) - 1) // context)
        if self.rows < world_size:
            raise ValueError(
                f"{self.rows} windows cannot be shared by {world_size} processes; use fewer devices"
            )
        self._span = torch.arange(context + 1, device=text.device)

    def order(self, epoch: int) -> Tensor:
        """Number of the first token of each window of one epoch."""
        text = self.tensors[0]
        if not self.shuffle:
            # As many as there are; training cuts the same ones again when the text is used up.
            windows = self.rows if self._strided else (len(text) - 1) // self.context
            return torch.arange(self.rows, device=text.device) % windows * self.context
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        cuts: list[Tensor] = []
        while sum(map(len, cuts)) < self.rows:
            last = min(self.context, len(text) - self.context)
            offset = int(torch.randint(last, (), generator=generator))
            windows = (len(text) - 1 - offset) // self.context
            cuts.append(offset + self.context * torch.randperm(windows, generator=generator))
        return torch.cat(cuts)[: self.rows].to(text.device)

    def _depends_on(self) -> dict[str, Any]:
        return {**super()._depends_on(), "context": self.context, "tokens": len(self.tensors[0])}

    def gather(self, rows: Tensor) -> tuple[Tensor, ...]:
        text = self.tensors[0]
        if not self._strided:
            tokens = text[rows[:, None] + self._span].long()  # (B, context + 1)
            return tokens[:, :-1], tokens[:, 1:]
        starts = rows.clamp(max=len(text) - 1 - self.context)
        positions = starts[:, None] + self._span
        tokens = text[positions].long()
        targets = tokens[:, 1:].masked_fill(positions[:, 1:] <= rows[:, None], IGNORED)
        return tokens[:, :-1], targets
