"""What the image data sets share: splitting, normalisation and the way to the device."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from datamodules.affine import random_affine
from datamodules.host import HostLoader
from datamodules.ordered import OrderedLoader
from datamodules.resident import ResidentLoader
from datamodules.resumable import ResumableDataModule, sha256

Batch = tuple[Tensor, Tensor]


class ImageDataModule(ResumableDataModule, ABC):
    """Grey 28 x 28 images with labels, as batches ``(images, labels)``.

    Images are float32 of shape (B, 1, 28, 28), normalised by the data set's ``mean`` and ``std``;
    labels are int64 of shape (B,). A subclass says how a split is read.

    Args:
        root: folder of the data.
        batch_size: images a training step and device.
        eval_batch_size: images a validation, test or prediction step; it changes speed only.
        val_size: images cut from the training split for validation, 0 for none. The test split is
            never touched.
        seed: seed of that cut and of the order of the training images.
        classes: keep only these digits; labels become positions in the sorted list, so that
            ``[5, 6, 7]`` gives labels 0, 1, 2.
        resident: hold the whole set on the training device (see :class:`ResidentLoader`); with
            false it stays in host memory (see :class:`~datamodules.host.HostLoader`).
        num_workers: worker processes that cut its batches; without meaning for a resident set.
        rotate: largest random rotation of a training image, in degrees either way.
        shift: its largest random shift along each axis, in pixels.
        zoom: its largest random relative change of size.

    Raises:
        ValueError: classes outside 0-9 or repeated, or a ``val_size`` that leaves nothing to train.
    """

    gives = "images"
    order_options = ("seed", "batch_size", "val_size", "classes")

    mean: float
    std: float

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
    ) -> None:
        super().__init__()
        if classes is not None and (
            not classes or len(set(classes)) != len(classes) or not set(classes) <= set(range(10))
        ):
            raise ValueError(f"classes must be different digits from 0 to 9, got {classes}")
        if val_size < 0:
            raise ValueError(f"val_size must be 0 or more, got {val_size}")
        for name, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if min(rotate, shift, zoom) < 0 or zoom >= 1:
            raise ValueError("rotate and shift must be 0 or more, zoom from 0 to below 1")
        self.save_hyperparameters()
        self.root = root
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.val_size = val_size
        self.seed = seed
        self.classes = sorted(classes) if classes else list(range(10))
        self.resident = resident
        self.num_workers = num_workers
        self.rotate = rotate
        self.shift = shift
        self.zoom = zoom
        self._splits: dict[str, tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def _read(self, train: bool) -> tuple[Tensor, Tensor]:
        """Images as uint8 (N, 28, 28) and labels as int64 (N,) of the train or test split."""

    def setup(self, stage: str) -> None:
        """Read what ``stage`` needs, once: ``fit``, ``validate``, ``test`` or ``predict``."""
        if stage in ("fit", "validate") and "train" not in self._splits:
            images, labels = self._prepare(train=True)
            if self.val_size >= len(labels):
                raise ValueError(
                    f"val_size={self.val_size} leaves none of the {len(labels)} training images"
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
        if len(self.classes) < 10:
            keep = torch.isin(labels, torch.tensor(self.classes))
            images = images[keep]
            labels = torch.searchsorted(torch.tensor(self.classes), labels[keep])
        if train:
            self.content = sha256((images, labels))
        if self.resident and self.trainer is not None:
            device = self.trainer.strategy.root_device
            images, labels = images.to(device), labels.to(device)
        images = images.unsqueeze(1).float().div_(255).sub_(self.mean).div_(self.std)
        return images, labels  # (N, 1, 28, 28), (N,)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """As Lightning's, without a search through a batch that lies on the device already."""
        if self.resident and batch[0].device == device:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Moves the images of a training batch about; all others stay as they are."""
        moving = self.rotate or self.shift or self.zoom
        # A lone tensor is the example input that TensorBoard's graph is drawn from.
        if not moving or isinstance(batch, Tensor) or not (self.trainer and self.trainer.training):
            return batch
        images, labels = batch
        background = -self.mean / self.std
        return random_affine(images, self.rotate, self.shift, self.zoom, background), labels

    def train_dataloader(self) -> OrderedLoader:
        self.refuse_unknown_order()
        return self._loader("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> OrderedLoader | Sequence:
        if not self.val_size:
            self.refuse_empty_validation("val_size")
            return []
        return self._loader("val", self.eval_batch_size)

    def test_dataloader(self) -> OrderedLoader:
        return self._loader("test", self.eval_batch_size)

    def predict_dataloader(self) -> OrderedLoader:
        return self.test_dataloader()

    def _loader(self, split: str, batch_size: int, shuffle: bool = False) -> OrderedLoader:
        tensors = self._splits[split]
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            # --trainer.overfit_batches means the same batches every epoch.
            shuffle = shuffle and not self.trainer.overfit_batches
        order = (batch_size, shuffle, self.seed, rank, world_size)
        if self.resident:
            return ResidentLoader(tensors, *order)
        return HostLoader(tensors, *order, num_workers=self.num_workers)
