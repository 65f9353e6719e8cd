"""What one step of the engine yields."""

import torch
from torch import Tensor

from inference.text.options import MOST_ALTERNATIVES
from inference.text.scores import Scores, TokenScore
from inference.text.transfer import to_host


class Step:
    """The tokens of one step, and their scores where one was asked for, on their way to the host.

    Args:
        ids: the tokens by slot, (B, 1).
        scores: None where no slot has its tokens scored.
    """

    def __init__(self, ids: Tensor, scores: Scores | None = None) -> None:
        self._event: torch.cuda.Event | None = None
        tensors = [ids[:, 0], *(scores or ())]
        if ids.device.type != "cuda":
            tensors = [tensor.clone() for tensor in tensors]
        else:
            tensors = [to_host(tensor) for tensor in tensors]
            self._event = torch.cuda.Event()
            self._event.record()
        self._ids = tensors[0]
        self._scores = Scores(*tensors[1:]) if scores else None
        self._listed: list[TokenScore] | None = None

    def read(self) -> list[int]:
        """The tokens by slot; waits for the device."""
        if self._event is not None:
            self._event.synchronize()
        return self._ids.tolist()

    def score(self, slot: int, count: int) -> TokenScore:
        """The score of a slot's token, with ``count`` of the most likely; after :meth:`read`."""
        assert self._scores is not None, "the step was run without scores"
        if self._listed is None:
            self._listed = self._scores.listed(self._ids.tolist(), MOST_ALTERNATIVES)
        score = self._listed[slot]
        return score._replace(top=score.top[:count])
