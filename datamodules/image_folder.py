"""Your own images: a folder of class folders."""

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from datamodules.augmentation import check_transforms
from datamodules.host import HostLoader
from datamodules.image_base import BaseImageDataModule
from datamodules.image_files import (
    Decoded,
    ImageFiles,
    decode_files,
    describe_files,
    report_broken,
)
from datamodules.image_listing import ImageFile, Listing, list_files, report_others
from datamodules.image_splits import assign_splits, report_copies
from datamodules.memory import free_bytes

_LARGEST_OWN_SIZE = 256  # images of one size up to this are read as they are
_DEFAULT_SIZE = 128


class ImageFolderDataModule(BaseImageDataModule):
    """Images of any size in one folder per class, whose names are the labels.

    ``root/CLASS/...`` is split by the seed, class by class, and copies of an image stay together;
    ``root/train/CLASS/...``, beside ``val`` and ``test`` or not, is split as it is, and what is
    missing is cut from the training images. Files that cannot be read are named, counted and left
    out before the training begins. All images are decoded once to uint8 of one size and held on
    the training device where they fit into half of its free memory; otherwise worker processes
    decode them for every batch.

    Args:
        root: the folder.
        size: height and width, or one number for both; by default the images' own where all have
            the same and at most 256, 128 otherwise.
        gray: one channel (true) or three (false); by default as the files are.
        classes: names of the classes, in the order of their labels; all, sorted, by default.
        val_size: share of each class's training images that validates, where there is no ``val``.
        test_size: share of them that tests, where there is no ``test``.
        batch_size: images per training step and device.
        eval_batch_size: images per validation, test or prediction step; it changes speed only.
        seed: seed of the cuts and of the order of the training images.
        resident: whether all images are held on the device; by default if they fit.
        num_workers: processes that decode what is not; by default one per core, at most 8.
        rotate, shift, zoom, augment: see :class:`BaseImageDataModule`.
        mean, std: one per channel; those of the training images by default.

    What was left to the data is kept in the hyperparameters, so that a checkpoint has it.

    Raises:
        ValueError: a folder without two classes of images, shares that leave a class nothing to
            train on, or more broken files than whole ones; the message names the remedy.
    """

    preprocessing = "resize-crop"
    order_options = ("seed", "batch_size", "val_size", "test_size", "classes", "size", "gray")
    fixed_by_training = ("mean", "std", "size", "gray", "classes")

    def __init__(
        self,
        root: str = "images",
        size: int | list[int] | None = None,
        gray: bool | None = None,
        classes: list[str] | None = None,
        val_size: float = 0.15,
        test_size: float = 0.15,
        batch_size: int = 32,
        eval_batch_size: int = 256,
        seed: int = 0,
        resident: bool | None = None,
        num_workers: int | None = None,
        rotate: float = 0.0,
        shift: float = 0.0,
        zoom: float = 0.0,
        augment: list[str | dict[str, dict[str, Any]]] | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
    ) -> None:
        super().__init__(
            *(root, batch_size, eval_batch_size, val_size, seed, resident, num_workers),
            *(rotate, shift, zoom, augment, mean, std),
        )
        sides = [size, size] if isinstance(size, int) else size
        if sides is not None and (len(sides) != 2 or min(sides) < 8):
            raise ValueError(f"size must be one number or [height, width], 8 at least; got {size}")
        if min(val_size, test_size) < 0 or val_size + test_size >= 1:
            raise ValueError(
                "val_size and test_size are shares of each class and must leave some of it to "
                f"train on; got {val_size} and {test_size}"
            )
        self.save_hyperparameters()
        self.size = sides
        self.gray = gray
        self.classes = classes
        self.test_size = test_size

    def setup(self, stage: str) -> None:
        """Lists, decodes and splits all files, once for all stages."""
        if self._splits:
            return
        listing = list_files(Path(self.root), self.classes)
        self._take_shape(listing.files)
        check_transforms(self._transforms, self.augment, self.image_shape)
        self.classes = self.class_names = listing.classes
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        self._decide_where(listing, device)
        began = time.perf_counter()
        channels, *size = self.image_shape
        paths = [file.path for file in listing.files]
        decoded = decode_files(paths, channels, (size[0], size[1]), keep=bool(self.resident))
        self._report_files(listing, decoded)
        rows = self._rows_of_splits(listing, decoded)
        counts = ", ".join(f"{len(rows[name])} {name}" for name in ("train", "val", "test"))
        rank_zero_info(f"{self.root}: {counts}; read in {time.perf_counter() - began:.1f} s")
        self._take_moments(decoded, rows["train"])
        labels = torch.tensor([file.label for file in listing.files])
        self._paths = paths
        for name, numbers in rows.items():
            index = torch.tensor(numbers, dtype=torch.long)
            # Copied split by split, so that the device never holds more than it keeps.
            images = index if decoded.pixels is None else decoded.pixels[index].to(device)
            kept = labels[index]
            self._splits[name] = (images, kept.to(device) if self.resident else kept)
        self.content = self._digest(decoded, rows["train"], labels)
        self.hparams.update(
            size=self.size, gray=self.gray, classes=self.classes, mean=self.mean, std=self.std
        )

    def _take_shape(self, files: Sequence[ImageFile]) -> None:
        if self.size is None or self.gray is None:
            headers = describe_files([file.path for file in files])
            known = [header for header in headers if header is not None]
            if not known:
                raise ValueError(
                    f"none of the {len(files)} image files of {self.root} can be opened; the first "
                    f"is {files[0].path}. Convert them to PNG or JPEG"
                )
            if self.gray is None:
                self.gray = all(gray for _, _, gray in known)
            if self.size is None:
                sizes = {(height, width) for height, width, _ in known}
                own = sizes.pop() if len(sizes) == 1 else ()
                fits = own and max(own) <= _LARGEST_OWN_SIZE and min(own) >= 8
                self.size = list(own) if fits else [_DEFAULT_SIZE, _DEFAULT_SIZE]
        self.image_shape = (1 if self.gray else 3, self.size[0], self.size[1])

    def _decide_where(self, listing: Listing, device: torch.device) -> None:
        """Says how much memory the images need, and decides whether the device holds them."""
        size = len(listing.files) * int(np.prod(self.image_shape))
        free = free_bytes(device)
        if self.resident is None:
            # The host holds them twice while they are split.
            self.resident = size <= free / 2 and 2 * size <= free_bytes(torch.device("cpu"))
        if self.num_workers is None:
            self.num_workers = 0 if self.resident else min(8, os.cpu_count() or 1)
        held = (
            f"held on {device}"
            if self.resident
            else f"decoded for every batch by {self.num_workers} worker processes"
        )
        shape = " x ".join(map(str, self.image_shape))
        rank_zero_info(
            f"{self.root}: {len(listing.files):,} images of {len(listing.classes)} classes as "
            f"{shape} take {size / 1e6:,.1f} MB of {free / 1e6:,.0f} MB free, {held}"
        )
        if listing.left_out:
            rank_zero_info(f"{self.root}: not among classes are {', '.join(listing.left_out)}")

    def _report_files(self, listing: Listing, decoded: Decoded) -> None:
        broken = report_broken(decoded.broken)
        if 2 * len(decoded.broken) > len(listing.files):
            raise ValueError(
                f"{self.root}: {broken}. More are broken than whole, so something is wrong with "
                "all of them"
            )
        for said in filter(None, (report_others(listing.others), broken)):
            rank_zero_warn(f"{self.root}: {said}", category=UserWarning)

    def _rows_of_splits(self, listing: Listing, decoded: Decoded) -> dict[str, list[int]]:
        """Numbers of the files of each split, without those that are broken."""
        rows = [row for row in range(len(listing.files)) if row not in decoded.broken]
        files = [listing.files[row] for row in rows]
        digests = [decoded.digests[row] for row in rows]
        shares = {"val": self.val_size, "test": self.test_size}
        splits = assign_splits(files, digests, listing.classes, shares, self.seed)
        for said, wrong in report_copies(files, digests, splits, listing.classes):
            if wrong:
                rank_zero_warn(f"{self.root}: {said}", category=UserWarning)
            else:
                rank_zero_info(f"{self.root}: {said}")
        # Mixed, so that the first images of a split are of all classes.
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(rows), generator=generator).tolist()
        return {
            name: [rows[at] for at in order if splits[at] == name]
            for name in ("train", "val", "test")
        }

    def _take_moments(self, decoded: Decoded, rows: list[int]) -> None:
        """Mean and standard deviation of the training pixels, where none were given."""
        channels, height, width = self.image_shape
        if hasattr(self, "mean"):
            for name, value in (("mean", self.mean), ("std", self.std)):
                if isinstance(value, Sequence) and len(value) not in (1, channels):
                    raise ValueError(
                        f"{name} has {len(value)} numbers and the images {channels} channels; give "
                        f"--data.init_args.{name} one per channel, or leave mean and std out"
                    )
            return
        count = len(rows) * height * width
        mean = decoded.sums[rows].sum(axis=0) / count
        variance = decoded.squares[rows].sum(axis=0) / count - mean**2
        std = np.sqrt(variance.clip(min=0)).round(4)
        std[std == 0] = 1.0  # a channel that is the same everywhere
        self.mean, self.std = mean.round(4).tolist(), std.tolist()

    def _digest(self, decoded: Decoded, rows: list[int], labels: Tensor) -> str:
        digest = hashlib.sha256()
        for row in rows:
            digest.update(decoded.digests[row] + bytes(str(int(labels[row])), "ascii"))
        return digest.hexdigest()

    def test_dataloader(self) -> Any:
        if not len(self._splits["test"][1]):
            raise ValueError(
                f"{self.root} has no test images, because test_size is 0 and there is no folder "
                "test; give --data.init_args.test_size the value of the training, or add test/"
            )
        return super().test_dataloader()

    def _loader(self, split: str, batch_size: int, shuffle: bool = False) -> Any:
        if self.resident:
            return super()._loader(split, batch_size, shuffle)
        channels, height, width = self.image_shape
        rows, labels = self._splits[split]
        paths = [self._paths[row] for row in rows.tolist()]
        files = ImageFiles(paths, labels, channels, (height, width))
        order = self._order_of_batches(batch_size, shuffle)
        return HostLoader((labels,), *order, num_workers=self.num_workers or 0, dataset=files)
