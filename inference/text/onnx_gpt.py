"""A GPT in ONNX Runtime, with its cache on the host."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.manifest import ArtifactFile
from inference.runtimes.runtime import onnx_session
from lightning_modules.nets.kv_cache import check_length


class OnnxGPT:
    """Stands where :class:`~inference.text.cached_gpt.CachedGPT` does, for one sequence on the CPU.

    Args:
        config: fields of the net's ``GPTConfig``.
        file: an ``onnx`` file of a language model.
        threads: threads inside an operation, None for all cores.

    Raises:
        ValueError: onnxruntime is missing, or the file is damaged.
    """

    slots = 1
    device = torch.device("cpu")

    def __init__(
        self, config: Mapping[str, Any], file: ArtifactFile, threads: int | None = None
    ) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise ValueError(
                "onnx files are run by onnxruntime: make setup EXTRAS=dev,export"
            ) from error
        options = onnxruntime.SessionOptions()
        if threads:
            options.intra_op_num_threads = threads
        self._session = onnx_session(file, options, "CPUExecutionProvider")
        self.context: int = config["context"]
        self.vocab_size: int = config["vocab_size"]
        heads = config["heads"]
        shape = (config["layers"], 2, heads, 0, config["width"] // heads)
        self._past: Any = np.zeros(shape, dtype=np.float32)

    def prefill(self, ids: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits (1, T, V) of the first tokens of a sequence."""
        return self._run(ids, 0)

    def decode(self, ids: Tensor, positions: Tensor, length: int) -> Tensor:
        """Logits (1, 1, V) of one more token."""
        return self._run(ids, int(positions[0, 0]))

    def _run(self, ids: Tensor, before: int) -> Tensor:
        check_length(before + ids.shape[1], self.context)
        past = self._past[:, :, :, :before]
        logits, self._past = self._session.run(None, {"ids": ids.numpy(), "past": past})
        return torch.from_numpy(logits)

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden

    def all_logits(self, ids: list[int]) -> Tensor:
        """Logits (T, vocab_size) after each of up to ``context`` tokens."""
        return self.prefill(torch.tensor([ids]))[0]
