"""How labeled images become batches: loaders, the way to the device, and augmentation."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules.affine import random_affine
from datamodules.augmentation import augmented, build_transforms
from datamodules.host import HostLoader
from datamodules.ordered import OrderedLoader
from datamodules.resident import ResidentLoader
from datamodules.resumable import ResumableDataModule

Batch = tuple[Tensor, Tensor]


class BaseImageDataModule(ResumableDataModule, ABC):
    """Images with labels, as batches ``(images, labels)``.

    Images are float32 of shape (B, *image_shape), normalized by ``mean`` and ``std``; labels are
    int64 of shape (B,), positions in ``class_names``. A subclass fills ``_splits`` in ``setup``:
    tensors of normalized float32 images, or of uint8 images, which stay a quarter of the size and
    are normalized batch by batch on the device.

    ``image_shape``, ``class_names`` and ``preprocessing`` reach the module that is trained and the
    manifest of an export; see :mod:`inference.images.framing` for the preprocessings.

    Args:
        root: folder of the data.
        batch_size: images per training step and device.
        eval_batch_size: images per validation, test or prediction step; it changes speed only.
        val_size: how much of the training images is cut off for validation, 0 for nothing.
        seed: seed of that cut and of the order of the training images.
        resident: hold the whole set on the training device (see :class:`ResidentLoader`).
        num_workers: worker processes that make batches; without meaning for a resident set.
        rotate: largest random rotation of a training image, in degrees either way.
        shift: its largest random shift along each axis, in pixels.
        zoom: its largest random relative change of size.
        augment: further random changes of a training image, in order: names of
            ``torchvision.transforms.v2``, or ``{name: {argument: value}}``. Each image draws its
            own; they see uint8 images and must leave shape and type as they are.
        mean: subtracted from pixels in [0, 1]; one number or one per channel.
        std: what the difference is divided by.

    Raises:
        ValueError: a number out of its range, ``mean`` without ``std``, or an unknown transform.
    """

    yields = "images"
    preprocessing = "mnist-digit"
    # Arguments whose values in a checkpoint hold for every later use of the model.
    fixed_by_training: ClassVar[tuple[str, ...]] = ("mean", "std")

    image_shape: tuple[int, int, int]  # channels, height, width
    class_names: Sequence[str]
    mean: float | Sequence[float]
    std: float | Sequence[float]

    def __init__(
        self,
        root: str,
        batch_size: int,
        eval_batch_size: int,
        val_size: float,
        seed: int,
        resident: bool | None,
        num_workers: int | None,
        rotate: float,
        shift: float,
        zoom: float,
        augment: Sequence[str | Mapping[str, Mapping[str, Any]]] | None,
        mean: float | Sequence[float] | None,
        std: float | Sequence[float] | None,
    ) -> None:
        super().__init__()
        if val_size < 0:
            raise ValueError(f"val_size must be 0 or more, got {val_size}")
        for name, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if min(rotate, shift, zoom) < 0 or zoom >= 1:
            raise ValueError("rotate and shift must be 0 or more, zoom from 0 to below 1")
        if mean is not None or std is not None:
            self.mean, self.std = _checked_moments(mean, std)
        self.root = root
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.val_size = val_size
        self.seed = seed
        self.resident = resident
        self.num_workers = num_workers
        self.rotate = rotate
        self.shift = shift
        self.zoom = zoom
        self.augment = list(augment or [])
        self._transforms = build_transforms(self.augment)
        self._moments: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._splits: dict[str, tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def setup(self, stage: str) -> None:
        """Read what ``stage`` needs, once: ``fit``, ``validate``, ``test`` or ``predict``."""

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """As Lightning's, without a search through a batch that lies on the device already."""
        if self.resident and batch[0].device == device:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalizes uint8 images; before and after that, training images are augmented."""
        # A lone tensor is the example input that TensorBoard's graph is drawn from.
        if isinstance(batch, Tensor):
            return batch
        images, labels = batch
        training = self.trainer is not None and self.trainer.training
        if training and self._transforms:
            images = augmented(images, self._transforms)
        if images.dtype == torch.uint8:
            images = self._normalized(images)
            if self.trainer is not None:  # Lightning converts to the precision before this hook
                images = self.trainer.precision_plugin.convert_input(images)
        if training and (self.rotate or self.shift or self.zoom):
            mean, std = self._moments_on(images.device)
            images = random_affine(images, self.rotate, self.shift, self.zoom, -mean / std)
        return images, labels

    def _normalized(self, images: Tensor) -> Tensor:
        """uint8 images (N, C, H, W) as float32, by ``mean`` and ``std``."""
        mean, std = self._moments_on(images.device)
        return images.float().div_(255).sub_(mean).div_(std)

    def _moments_on(self, device: torch.device) -> tuple[Any, Any]:
        """``mean`` and ``std``: numbers, or tensors (C, 1, 1) where each channel has its own."""
        if not isinstance(self.mean, Sequence) or not isinstance(self.std, Sequence):
            return self.mean, self.std
        if device not in self._moments:
            mean, std = (torch.tensor(one).reshape(-1, 1, 1) for one in (self.mean, self.std))
            self._moments[device] = mean.to(device), std.to(device)
        return self._moments[device]

    def train_dataloader(self) -> OrderedLoader:
        self.refuse_unknown_order()
        return self._loader("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> OrderedLoader | Sequence:
        if not len(self._splits["val"][1]):
            self.refuse_empty_validation("val_size")
            return []
        return self._loader("val", self.eval_batch_size)

    def test_dataloader(self) -> OrderedLoader:
        return self._loader("test", self.eval_batch_size)

    def predict_dataloader(self) -> OrderedLoader:
        return self.test_dataloader()

    def _loader(self, split: str, batch_size: int, shuffle: bool = False) -> OrderedLoader:
        order = self._order_of_batches(batch_size, shuffle)
        if self.resident:
            return ResidentLoader(self._splits[split], *order)
        return HostLoader(self._splits[split], *order, num_workers=self.num_workers or 0)

    def _order_of_batches(self, batch_size: int, shuffle: bool) -> tuple[int, bool, int, int, int]:
        """The arguments of a loader that decide which rows each of its batches has."""
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            # --trainer.overfit_batches means the same batches every epoch.
            shuffle = shuffle and not self.trainer.overfit_batches
        return batch_size, shuffle, self.seed, rank, world_size


def _checked_moments(mean: Any, std: Any) -> tuple[Any, Any]:
    given = [[] if one is None else torch.tensor(one).reshape(-1).tolist() for one in (mean, std)]
    means, stds = given
    if (
        not means
        or len(means) != len(stds)
        or not all(map(math.isfinite, means))
        or not all(0 < one < math.inf for one in stds)
    ):
        raise ValueError(
            "mean and std must be given together, std above 0, one number or one per channel; got "
            f"{mean} and {std}"
        )
    return mean, std
