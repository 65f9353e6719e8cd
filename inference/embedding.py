"""A text as one vector: the mean of what the last layer says of its tokens."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from inference.cached_gpt import CachedGPT


class Embedder:
    """Vectors of length 1; texts that the model goes on with alike lie near each other.

    Args:
        model: its cache is not touched.

    Raises:
        ValueError: the model runs in ONNX Runtime, which shows no hidden states.
    """

    def __init__(self, model: CachedGPT) -> None:
        if not isinstance(model, CachedGPT):
            raise ValueError("an ONNX file gives no vectors; export the model as safetensors")
        self._model = model
        self.size = model.width

    @torch.inference_mode()
    def vector(self, ids: Sequence[int], size: int = 0) -> list[float]:
        """The vector of up to ``context`` tokens.

        Args:
            ids: at least one.
            size: first numbers that are kept, 0 for all.
        """
        hidden = self._model.read(torch.tensor([list(ids)], device=self._model.device))  # (1, T, C)
        mean = hidden[0].float().mean(dim=0)
        return F.normalize(mean[: size or None], dim=0).tolist()
