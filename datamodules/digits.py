"""The 1,797 scanned digits that come with scikit-learn: real handwriting without a download."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.images import ImageDataModule

# Row numbers: those for training on the first line, those for testing on the second.
SPLIT = Path(__file__).with_name("digits_split.txt")


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 8, 8) from 0 to 16, and their digits (1797,), as ``load_digits`` returns them.

    Read from scikit-learn's own file: importing it, and scipy with it, takes seconds.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    found = find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise ValueError("the digits come with scikit-learn: pip install scikit-learn")
    path = Path(found.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = np.loadtxt(file, delimiter=",")
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(int)


class DigitsDataModule(ImageDataModule):
    """Scanned digits by 13 writers, of the size of MNIST's.

    The 8 x 8 images, which the digits fill, are enlarged to 20 x 20 (bilinear) and centered in
    28 x 28, so that a digit's box is in the middle, and not its center of mass. The test split is
    fixed: 360 images, 36 or so of each digit, drawn by scikit-learn's ``train_test_split(
    test_size=360, stratify=labels, random_state=0)``; the other 1,437 are for training. Writers
    occur in both.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, 1998.

    Args:
        val_size: images cut from the 1,437 for validation.
        kwargs: as for :class:`ImageDataModule`; ``root`` is not read, the data is embedded.
    """

    preprocessing = "centered-digit"
    mean = 0.1558
    std = 0.2774

    def __init__(self, val_size: int = 180, **kwargs) -> None:
        super().__init__(val_size=val_size, **kwargs)

    def _read(self, train: bool) -> tuple[Tensor, Tensor]:
        images, labels = read_digits()
        rows = np.array(SPLIT.read_text().splitlines()[0 if train else 1].split(), dtype=int)
        small = torch.from_numpy(images[rows]).float().unsqueeze(1)  # (N, 1, 8, 8), 0-16
        large = F.interpolate(small, size=(20, 20), mode="bilinear", align_corners=False)
        framed = F.pad(large * (255 / 16), (4, 4, 4, 4)).round().to(torch.uint8)
        return framed.squeeze(1), torch.from_numpy(labels[rows]).long()
