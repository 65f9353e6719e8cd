"""The 1,797 scanned digits that come with scikit-learn: real handwriting without a download."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.images import ImageDataModule


class DigitsDataModule(ImageDataModule):
    """Scanned digits by 13 writers, framed as MNIST frames its digits.

    The 8 x 8 images are enlarged to 20 x 20 (bilinear) and centred in 28 x 28. The test split is
    fixed: 360 images, 36 or so of each digit, drawn by ``train_test_split(test_size=360,
    stratify=labels, random_state=0)``; the other 1,437 are for training. Writers occur in both.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, 1998.

    Args:
        val_size: images cut from the 1,437 for validation.
        kwargs: as for :class:`ImageDataModule`; ``root`` is not read, the data is embedded.
    """

    mean = 0.1558
    std = 0.2774

    def __init__(self, val_size: int = 180, **kwargs) -> None:
        super().__init__(val_size=val_size, **kwargs)

    def _read(self, train: bool) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        rows = train_test_split(
            np.arange(len(digits.target)), test_size=360, stratify=digits.target, random_state=0
        )[0 if train else 1]
        small = torch.from_numpy(digits.images[rows]).float().unsqueeze(1)  # (N, 1, 8, 8), 0-16
        large = F.interpolate(small, size=(20, 20), mode="bilinear", align_corners=False)
        images = F.pad(large * (255 / 16), (4, 4, 4, 4)).round().to(torch.uint8)
        return images.squeeze(1), torch.from_numpy(digits.target[rows]).long()
