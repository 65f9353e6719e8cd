"""Labels from images."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from inference.images.framing import frame
from inference.images.preprocessing import SUFFIXES
from inference.model import Model


@dataclass(frozen=True)
class Prediction(Mapping[str, Any]):
    """``all_probs`` has one probability for each label, in the order of the manifest's labels.

    ``inverted`` tells that dark ink on a light ground was seen and turned round, of a digit. It
    reads as a dictionary, too: ``prediction["label"]`` is ``prediction.label``; ``digit`` is there
    where the label is one.
    """

    label: str
    confidence: float
    all_probs: tuple[float, ...]
    inverted: bool

    @property
    def digit(self) -> int:
        """The label as a number.

        Raises:
            ValueError: it is a name.
        """
        if not self.label.isdecimal():
            raise ValueError(f"the label {self.label!r} is not a digit; use label")
        return int(self.label)

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys():
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())

    def _keys(self) -> tuple[str, ...]:
        keys = ("label", "confidence", "all_probs", "inverted")
        return ("digit", *keys) if self.label.isdecimal() else keys


class Classifier(Model):
    """Images in, labels out.

    Example::

        from inference import load
        load("models/mnist_cnn").predict("seven.png").digit
        load("models/photos").predict("cat.jpg").label
    """

    def predict(self, image: Any, invert: bool | None = None) -> Prediction:
        """What one image shows; see :func:`~.framing.frame`.

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
                # Not itself: its traceback would keep the unpacked picture until a collection.
                results.append(ValueError(str(error)))
        good = [result for result in results if isinstance(result, tuple)]
        predictions = iter(self._classify(good) if good else [])
        return [next(predictions) if isinstance(one, tuple) else one for one in results]

    def seen(self, image: Any, invert: bool | None = None) -> np.ndarray:
        """An image (C, H, W) in [0, 1] as the net gets it, before its normalization.

        Raises:
            ValueError: as :meth:`predict`.
        """
        return self._frame(image, invert)[0]

    def _frame(self, image: Any, invert: bool | None) -> tuple[np.ndarray, bool]:
        assert self.manifest.preprocessing is not None
        return frame(self.manifest.preprocessing, image, self.manifest.input_shape, invert)

    def normalized(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., C, H, W) in [0, 1] as the model takes them, float32."""
        mean, std = (
            np.asarray(values, dtype=np.float32).reshape(-1, 1, 1)
            for values in (self.manifest.mean, self.manifest.std)
        )
        return (pixels - mean) / std

    def _classify(self, framed: list[tuple[np.ndarray, bool]]) -> list[Prediction]:
        pixels = np.stack([image for image, _ in framed])  # (B, C, H, W)
        assert self.manifest.labels is not None
        logits = self(self.normalized(pixels))
        if logits.shape[1:] != (len(self.manifest.labels),):
            raise ValueError(
                f"{self.manifest.folder} returns outputs of shape {logits.shape[1:]} and its "
                f"manifest has {len(self.manifest.labels)} labels; export the model again with one "
                "label per output"
            )
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
