"""What belongs to one slot of the decode batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from inference.text.options import SamplingOptions

if TYPE_CHECKING:
    from inference.text.decode_loop import Generation


class Slot:
    """One row of the batch: the generation in it, and how far the engine is with its tokens.

    ``generation`` is None while the slot is free, ``tokens`` are those that were prefilled, and
    ``position`` is that of the token that the next step takes. ``held`` are the tokens whose keys
    and values the cache of a free slot has from position 0 on; the first ``reused`` of a new prompt
    are among them. ``freed`` orders the slots by when they became free.

    Args:
        index: its row in the batch.
        context: positions of the model.
    """

    def __init__(self, index: int, context: int) -> None:
        self.index = index
        self.generation: Generation | None = None
        self.options = SamplingOptions()
        self.tokens: list[int] = []
        self.position = 0
        self.window = context  # positions of the context that the generation uses
        self.restricted = False  # the sampler has banned tokens in this row
        self.biased = False  # the sampler has a bias in this row
        self.held: list[int] = []
        self.reused = 0
        self.freed = 0
        self._context = context
        self._known = 0  # tokens of the generation when the slot was filled
        self._random = torch.Generator()

    def take(self, generation: Generation, reused: int = 0) -> None:
        """Begins a generation; its prompt is prefilled next, from token ``reused`` on."""
        self.generation = generation
        self.options = generation.options
        self.window = generation.options.window_in(self._context)
        if self.options.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(self.options.seed)
        self.fill(generation.ids)
        self.reused = generation.reused_tokens = reused

    def free(self, freed: int) -> None:
        """Ends the generation; what the cache has of it can be the beginning of a next one.

        Args:
            freed: above that of every slot that was freed before.
        """
        assert self.generation is not None, "the slot is free already"
        tokens = [*self.tokens, *self.generation.ids[self._known :]]
        # A free slot takes part in the steps: it writes behind its tokens, at last into the last
        # position of the context.
        self.held = tokens[: min(self.position, self._context - 1)]
        self.generation = None
        self.freed = freed

    def fill(self, ids: list[int]) -> None:
        """Sets the tokens that are to be prefilled, all but the last, which the next step takes."""
        assert self.generation is not None, "a free slot is not filled"
        self.tokens = list(ids)
        self.position = len(ids) - 1
        self.reused = 0
        self._known = len(self.generation.ids)

    def noise(self) -> torch.Tensor:
        """A random number for each position of the context."""
        return torch.rand(self._context, generator=self._random)

    @property
    def room(self) -> int:
        """Tokens that can still be generated before the window of the context is full."""
        return self.window - self.position
