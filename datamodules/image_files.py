"""Image files as pixels: what their headers say, all of them at once, or each alone."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.image_listing import plural, some
from inference.images.framing import described, resize_crop


def describe_files(paths: Sequence[Path]) -> list[tuple[int, int, bool] | None]:
    """Height, width and whether it is gray, of each file; None for one that cannot be opened."""

    def look(path: Path) -> tuple[int, int, bool] | None:
        try:
            return described(path)
        except ValueError:  # decoding says what is wrong with it
            return None

    with ThreadPoolExecutor(_threads()) as pool:
        return list(pool.map(look, paths))


@dataclass(frozen=True)
class Decoded:
    """What decoding showed of N files.

    ``pixels`` is uint8 (N, C, H, W), or None if they were not kept; ``digests`` of the pixels are
    equal for equal images; ``sums`` and ``squares`` (N, C) are of pixels in [0, 1]. A file in
    ``broken``, by its number, has none of them.
    """

    pixels: Tensor | None
    digests: list[bytes]
    sums: np.ndarray
    squares: np.ndarray
    broken: dict[int, str]


def decode_files(
    paths: Sequence[Path], channels: int, size: tuple[int, int], keep: bool
) -> Decoded:
    """Decodes every file once, in threads: Pillow works without Python's lock."""
    shape = (channels, *size)
    pixels = torch.empty((len(paths), *shape), dtype=torch.uint8) if keep else None
    digests, broken = [b""] * len(paths), {}
    sums, squares = (np.zeros((len(paths), channels)) for _ in range(2))

    def decode(row: int) -> None:
        try:
            image = resize_crop(paths[row], channels, size)
        except ValueError as error:
            broken[row] = str(error)
            return
        digests[row] = hashlib.blake2b(image.data, digest_size=16).digest()
        scaled = image.reshape(channels, -1) / 255
        sums[row], squares[row] = scaled.sum(axis=1), np.square(scaled).sum(axis=1)
        if pixels is not None:
            pixels[row] = torch.from_numpy(image)

    with ThreadPoolExecutor(_threads()) as pool:
        for _ in pool.map(decode, range(len(paths))):
            pass
    return Decoded(pixels, digests, sums, squares, dict(sorted(broken.items())))


def _threads() -> int:
    return min(32, os.cpu_count() or 1)


def report_broken(broken: dict[int, str]) -> str:
    """A sentence about files that cannot be decoded, or nothing."""
    if not broken:
        return ""
    return (
        f"{plural(len(broken), 'image file')} cannot be read, left out: {some(broken.values())}; "
        "replace or delete them"
    )


class ImageFiles(Dataset):
    """Decodes a file whenever it is asked for: pairs of a uint8 image (C, H, W) and a label."""

    def __init__(
        self, paths: Sequence[Path], labels: Tensor, channels: int, size: tuple[int, int]
    ) -> None:
        self.paths = list(paths)
        self.labels = labels
        self.channels = channels
        self.size = size

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return (
            torch.from_numpy(resize_crop(self.paths[row], self.channels, self.size)),
            self.labels[row],
        )

    def __len__(self) -> int:
        return len(self.paths)
