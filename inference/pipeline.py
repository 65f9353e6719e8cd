"""Step 17 of the course: inference apart from training, as one object."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inference.classifier import Classifier, Prediction
from inference.model import load


class MNISTInferencePipeline:
    """Digits from pictures with an exported model; no training code is needed.

    Args:
        folder: ``models/<name>``, as :class:`scripts.pipelines.MNISTTrainingPipeline` saves it.
        runtime: see :func:`inference.load`.
        device: ``cpu`` or ``cuda``.

    Raises:
        ValueError: the folder holds no image classifier, or a damaged one.

    Example::

        result = MNISTInferencePipeline("models/mnist_cnn").predict("seven.png")
        result.digit, result.confidence, result.all_probs
    """

    def __init__(self, folder: str | Path, runtime: str | None = None, device: str = "cpu") -> None:
        model = load(folder, runtime, device)
        if not isinstance(model, Classifier):
            raise ValueError(f"{folder} is no image classifier")
        self.classifier = model

    def predict(self, image: Any) -> Prediction:
        """``digit``, ``confidence`` and ``all_probs`` of one picture of any kind."""
        return self.classifier.predict(image)

    def predict_batch(self, images: Sequence[Any] | np.ndarray) -> list[Prediction]:
        """The same for many pictures, run as one batch."""
        return self.classifier.predict_batch(images)
