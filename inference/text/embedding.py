"""A text as one vector: the mean of the last hidden states of its tokens."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from inference.text.cached_gpt import CachedGPT


class Embedder:
    """Vectors of length 1; texts that the model continues alike have similar ones.

    Args:
        model: its cache is not touched.

    Raises:
        ValueError: the model runs in ONNX Runtime, which shows no hidden states.
    """

    def __init__(self, model: CachedGPT) -> None:
        if not isinstance(model, CachedGPT):
            raise ValueError("an ONNX file returns no vectors; export the model as safetensors")
        self._model = model
        self.size = model.width

    @torch.inference_mode()
    def vector(self, ids: Sequence[int], size: int = 0) -> list[float]:
        """The vector of up to ``context`` tokens.

        Args:
            ids: at least one.
            size: first numbers that are kept, 0 for all.
        """
        tokens = torch.tensor([list(ids)], device=self._model.device)
        hidden = self._model.prefill(tokens)  # (1, T, C)
        mean = hidden[0].float().mean(dim=0)
        return F.normalize(mean[: size or None], dim=0).tolist()
