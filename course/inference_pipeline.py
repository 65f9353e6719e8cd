"""Step 17 of the course: inference apart from training, as one object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.images.classifier import Classifier, Prediction
from inference.images.preprocessing import to_mnist
from inference.load import load

if TYPE_CHECKING:
    from torch import Tensor


class MNISTInferencePipeline:
    """Digits from images with a saved model; no training code is needed.

    ``model`` maps a batch (B, 1, 28, 28) of what ``transform`` returns to logits: the ``nn.Module``
    of a ``.pth`` file, the :class:`~inference.Classifier` (NumPy arrays) of an artifact.

    Args:
        path: a ``.pth`` as the course or ``MNISTTrainingPipeline.save`` writes it, whose images are
            pixels in [0, 1] without further normalization; or a folder, ``models/<name>``.
        runtime: of a folder, see :func:`inference.load`.
        device: ``cpu`` or ``cuda``.

    Raises:
        ValueError: the path holds no image classifier, or a damaged one.

    Example::

        result = MNISTInferencePipeline("models/mnist_cnn.pth").predict("seven.png")
        result["digit"], result.confidence, result.all_probs
    """

    def __init__(self, path: str | Path, runtime: str | None = None, device: str = "cpu") -> None:
        path = Path(path)
        if path.suffix == ".pth":
            from inference.images.weights import load_weights

            if runtime is not None:
                raise ValueError(f"{path} is run by torch alone; leave runtime out")
            self.classifier, self.model = load_weights(path, device)
            return
        model = load(path, runtime, device)
        if not isinstance(model, Classifier):
            raise ValueError(f"{path} is not an image classifier")
        self.classifier = model
        self.model: Any = model

    def transform(self, image: Any) -> Tensor:
        """One image (1, 28, 28) as ``model`` takes it, framed as MNIST frames its digits."""
        import torch

        pixels, _ = to_mnist(image, self.classifier.manifest.input_shape[-1])
        return torch.from_numpy(self.classifier.normalized(pixels[None]))

    def predict(self, image: Any) -> Prediction:
        """``digit``, ``confidence`` and ``all_probs`` of one image of any kind."""
        return self.classifier.predict(image)

    def predict_batch(self, images: Sequence[Any] | np.ndarray) -> list[Prediction]:
        """The same for many images, run as one batch."""
        return self.classifier.predict_batch(images)
