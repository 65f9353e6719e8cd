"""What the image data sets with an official test split share: reading, classes, validation."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules.augmentation import check_transforms
from datamodules.image_base import BaseImageDataModule
from datamodules.resumable import sha256


class ImageDataModule(BaseImageDataModule):
    """A set of images with a training and a test split; a subclass says how a split is read.

    Gray 28 x 28 digits unless a subclass says otherwise. To bring a set of your own, set
    ``image_shape``, ``class_names``, ``mean``, ``std`` and ``preprocessing = "resize-crop"``, and
    define :meth:`_read`; for files in folders there is :class:`ImageFolderDataModule`.

    Args:
        root: folder of the data.
        batch_size: images per training step and device.
        eval_batch_size: images per validation, test or prediction step; it changes speed only.
        val_size: images cut from the training split for validation, 0 for none. The test split is
            never touched.
        seed: seed of that cut and of the order of the training images.
        classes: keep only these, by their numbers; labels become positions in the sorted list, so
            that ``[5, 6, 7]`` become labels 0, 1, 2.
        resident: hold the whole set on the training device (see :class:`ResidentLoader`); with
            false it stays in host memory (see :class:`~datamodules.host.HostLoader`).
        num_workers: worker processes that cut its batches; without meaning for a resident set.
        rotate: largest random rotation of a training image, in degrees either way.
        shift: its largest random shift along each axis, in pixels.
        zoom: its largest random relative change of size.
        mean: subtracted from pixels in [0, 1]; that of the data set by default.
        std: what the difference is divided by; that of the data set by default.
        augment: transforms of ``torchvision.transforms.v2`` for training images, such as
            ``[RandomHorizontalFlip, {RandomCrop: {size: 32, padding: 4}}]``.

    Raises:
        ValueError: classes that the set does not have or repeated, a ``val_size`` that leaves
            nothing to train, or one of ``mean`` and ``std`` without the other.
    """

    order_options = ("seed", "batch_size", "val_size", "classes")
    image_shape = (1, 28, 28)
    class_names: Sequence[str] = tuple("0123456789")
    # Images stay uint8 until their batch is on the device; otherwise all are normalized at once.
    as_bytes: ClassVar[bool] = False

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 32,
        eval_batch_size: int = 1000,
        val_size: int = 5000,
        seed: int = 0,
        classes: list[int] | None = None,
        resident: bool = True,
        num_workers: int = 0,
        rotate: float = 0.0,
        shift: float = 0.0,
        zoom: float = 0.0,
        mean: float | list[float] | None = None,
        std: float | list[float] | None = None,
        augment: list[str | dict[str, dict[str, Any]]] | None = None,
    ) -> None:
        super().__init__(
            *(root, batch_size, eval_batch_size, val_size, seed, resident, num_workers),
            *(rotate, shift, zoom, augment, mean, std),
        )
        count = len(self.class_names)
        if classes is not None and (
            not classes
            or len(set(classes)) != len(classes)
            or not set(classes) <= set(range(count))
        ):
            kind = "digits" if self.preprocessing.endswith("-digit") else "numbers"
            raise ValueError(
                f"classes must be different {kind} from 0 to {count - 1}, got {classes}"
            )
        self.save_hyperparameters()
        self.val_size: int = val_size
        self.classes = sorted(classes) if classes else list(range(count))
        self.class_names = [self.class_names[number] for number in self.classes]
        self._all = count

    @abstractmethod
    def _read(self, train: bool) -> tuple[Tensor, Tensor]:
        """Images as uint8 (N, H, W) or (N, C, H, W), labels as int64 (N,), of train or test."""

    def setup(self, stage: str) -> None:
        """Read what ``stage`` needs, once: ``fit``, ``validate``, ``test`` or ``predict``."""
        if stage in ("fit", "validate") and "train" not in self._splits:
            check_transforms(self._transforms, self.augment, self.image_shape)
            images, labels = self._prepare(train=True)
            if self.val_size >= len(labels):
                raise ValueError(
                    f"val_size={self.val_size} leaves none of the {len(labels)} training images; "
                    f"take at most {len(labels) - 1}"
                )
            order = torch.randperm(
                len(labels), generator=torch.Generator().manual_seed(self.seed)
            ).to(labels.device)
            for name, rows in (
                ("val", order[: self.val_size]),
                ("train", order[self.val_size :]),
            ):
                self._splits[name] = (images[rows], labels[rows])
        elif stage in ("test", "predict") and "test" not in self._splits:
            self._splits["test"] = self._prepare(train=False)

    def _prepare(self, train: bool) -> tuple[Tensor, Tensor]:
        images, labels = self._read(train)
        if len(self.classes) < self._all:
            keep = torch.isin(labels, torch.tensor(self.classes))
            images = images[keep]
            labels = torch.searchsorted(torch.tensor(self.classes), labels[keep])
        if train:
            self.content = sha256((images, labels))
        if self.resident and self.trainer is not None:
            device = self.trainer.strategy.root_device
            images, labels = images.to(device), labels.to(device)
        images = images.reshape(len(images), *self.image_shape)
        if not self.as_bytes and not self._transforms:
            images = self._normalized(images)
        return images, labels  # (N, *image_shape), (N,)
