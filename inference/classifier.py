"""Digits from pictures."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from inference.images import SUFFIXES, to_mnist
from inference.model import Model


@dataclass(frozen=True)
class Prediction:
    """``all_probs`` has one probability for each label, in the order of the manifest's labels.

    ``inverted`` tells that dark ink on a light ground was seen and turned round.
    """

    label: str
    confidence: float
    all_probs: tuple[float, ...]
    inverted: bool

    @property
    def digit(self) -> int:
        """The label as a number."""
        return int(self.label)


class Classifier(Model):
    """Pictures in, digits out.

    Example::

        from inference import load
        load("models/mnist_cnn").predict("seven.png").digit
    """

    def predict(self, image: Any, invert: bool | None = None) -> Prediction:
        """What one picture shows; see :func:`~inference.images.to_mnist` for what is taken.

        Raises:
            ValueError: the picture cannot be read, or shows nothing.
        """
        return self.predict_batch([image], invert)[0]

    def predict_batch(
        self, images: Sequence[Any] | np.ndarray, invert: bool | None = None
    ) -> list[Prediction]:
        """One prediction for each picture, run as one batch.

        Raises:
            ValueError: no pictures, or one that cannot be read, by its position.
        """
        if not len(images):
            raise ValueError("no pictures given")
        framed = []
        for position, image in enumerate(images):
            try:
                framed.append(self._frame(image, invert))
            except ValueError as error:
                if len(images) == 1:
                    raise
                raise ValueError(f"picture {position}: {error}") from error
        return self._classify(framed)

    def predict_files(
        self, paths: Iterable[Path], batch_size: int = 256, invert: bool | None = None
    ) -> Iterator[tuple[Path, Prediction | ValueError]]:
        """A prediction, or the error, for each file, in order; one bad file stops none."""
        rest = iter(paths)
        while batch := list(islice(rest, batch_size)):
            yield from zip(batch, self.predict_each(batch, invert), strict=True)

    def predict_each(
        self, images: Sequence[Any], invert: bool | None = None
    ) -> list[Prediction | ValueError]:
        """A prediction, or the error, for each picture, run as one batch."""
        results: list[Any] = []
        for image in images:
            try:
                results.append(self._frame(image, invert))
            except ValueError as error:
                results.append(error)
        good = [result for result in results if isinstance(result, tuple)]
        predictions = iter(self._classify(good) if good else [])
        return [next(predictions) if isinstance(one, tuple) else one for one in results]

    def _frame(self, image: Any, invert: bool | None) -> tuple[np.ndarray, bool]:
        return to_mnist(image, self.manifest.input_shape[-1], invert)

    def _classify(self, framed: list[tuple[np.ndarray, bool]]) -> list[Prediction]:
        pixels = np.stack([image for image, _ in framed])[:, None]  # (B, 1, side, side)
        assert self.manifest.labels is not None
        assert self.manifest.mean is not None
        assert self.manifest.std is not None
        logits = self((pixels - self.manifest.mean) / self.manifest.std)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = shifted / shifted.sum(axis=1, keepdims=True)  # (B, classes)
        return [
            Prediction(
                self.manifest.labels[int(row.argmax())],
                float(row.max()),
                tuple(map(float, row)),
                inverted,
            )
            for row, (_, inverted) in zip(probabilities, framed, strict=True)
        ]


def find_images(paths: Iterable[Path]) -> list[Path]:
    """The files that were named, and the images in the folders that were, sorted.

    Raises:
        ValueError: a folder without an image in it.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise ValueError(f"there is no image in {path} ({', '.join(sorted(SUFFIXES))})")
        found += inside
    return found
