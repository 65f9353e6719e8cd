"""A model in memory."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from serving.artifact import Artifact
from serving.errors import ApiError
from serving.notifier import Notifier
from serving.settings import Settings

if TYPE_CHECKING:
    from inference.images.classifier import Classifier
    from inference.text.batching import Batcher
    from inference.text.embedding import Embedder

T = TypeVar("T")


class Loaded:
    """One model with what runs it, and how long it stays.

    ``batcher`` is there for a language model, ``classifier`` for one of images.
    ``expires`` is a time of ``time.time``, ``keep_alive`` in seconds; ``users`` counts the answers
    that it is making.
    """

    def __init__(
        self, artifact: Artifact, batcher: Batcher | None, classifier: Classifier | None
    ) -> None:
        self.artifact = artifact
        self.batcher = batcher
        self.classifier = classifier
        self.load_ns = 0
        self.users = 0
        self.keep_alive = math.inf
        self.expires = math.inf
        self.timer: asyncio.TimerHandle | None = None
        self.closed = False
        self._embedder: Embedder | None = None

    def close(self, grace: float) -> None:
        """Ends its thread; blocks up to ``grace`` seconds."""
        if self.batcher:
            self.batcher.close(grace)

    def tokens(self, text: str) -> list[int]:
        """Raises ValueError for characters that the model does not know."""
        assert self.batcher is not None
        return self.batcher.generator.tokenizer.encode(text)

    def embed(self, ids: list[int], size: int) -> Future[list[float]]:
        """The vector of a text, made between two steps of the batch.

        Raises:
            ValueError: no tokens, or a file that shows no hidden states.
            ApiError: 503 while the model goes.
        """
        from inference.text.embedding import Embedder

        assert self.batcher is not None
        if not ids:
            raise ValueError("an empty text has no embedding")
        if self._embedder is None:
            self._embedder = Embedder(self.batcher.generator.model)
        embedder = self._embedder
        return self.call(lambda: embedder.vector(ids, size))

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Calls ``work`` between two steps of the batch.

        Raises:
            ApiError: 503 while the model goes.
        """
        from inference.text.batching import Closed

        assert self.batcher is not None
        try:
            return self.batcher.call(work)
        except Closed as error:
            raise ApiError(503, "the model is being unloaded; ask again") from error

    @property
    def on_gpu(self) -> bool:
        if self.batcher:
            return self.batcher.generator.engine.device.type == "cuda"
        return bool(self.classifier and self.classifier.runtime.device == "cuda")


def load(artifact: Artifact, settings: Settings, notifier: Notifier) -> Loaded:
    """Reads a model from its files; takes seconds, so it runs in a thread of its own.

    Raises:
        ValueError: nothing in it can be run here, or a file is missing or damaged.
    """
    folder = artifact.manifest.folder
    task = artifact.manifest.task
    if task == "text-generation":
        from inference.text.artifact import BEST
        from inference.text.batching import Batcher
        from inference.text.generate import TextGenerator

        # onnx is the last that is taken, and runs one sequence at a time.
        only_onnx = not any(name in artifact.manifest.files for name in BEST if name != "onnx")
        generator = TextGenerator.load(
            folder,
            slots=1 if only_onnx else settings.slots,
            device=settings.device,
            compile=settings.compile,
            kernels=settings.kernels,
            int8=settings.int8,
        )
        reuse = settings.reuse
        if reuse is None:
            reuse = generator.engine.can_extend and generator.engine.device.type == "cpu"
        batcher = Batcher(generator, settings.max_queue, notifier.wake, reuse)
        return Loaded(artifact, batcher, None)
    if task == "image-classification":
        from inference import Classifier
        from inference import load as load_model

        model: Any = load_model(folder, device=_device(settings.device, artifact))
        assert isinstance(model, Classifier)
        return Loaded(artifact, None, model)
    raise ValueError(f"a {task} model is not served")


def _device(asked: str, artifact: Artifact) -> str:
    """``auto`` takes the CPU for an ONNX file, fast there, and for what runs nowhere else."""
    if asked != "auto":
        return asked
    from inference.load import BEST

    formats = artifact.manifest.files
    if "onnx" in formats or not any(name in formats for name in BEST["cuda"]):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
