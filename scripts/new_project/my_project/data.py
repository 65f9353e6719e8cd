"""The data module: says what an image is; splits, loaders and normalization are inherited."""

from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from datamodules import ImageDataModule
from inference.images.preprocessing import to_mnist

# Fonts that come with matplotlib. Those of the test split are never trained on.
TRAIN_FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "STIXGeneral")
TEST_FONTS = ("DejaVuSerif-Bold", "DejaVuSansMono-Bold", "STIXGeneralBol")


class PrintedDigits(ImageDataModule):
    """Digits in the fonts of matplotlib, rotated and of several sizes, framed as MNIST's are.

    ``classify`` and the server frame what they are asked about in the same way, so that the net
    sees there what it has learned from here.

    Args:
        samples: images for training and validation; a quarter as many for testing.
        val_size: images that are cut from them for validation.
        kwargs: as for ``ImageDataModule``; ``root`` is not read, the images are drawn.
    """

    mean = 0.140
    std = 0.298

    def __init__(self, samples: int = 2000, val_size: int = 200, **kwargs) -> None:
        super().__init__(val_size=val_size, **kwargs)
        self.save_hyperparameters()
        self.samples = samples

    def _read(self, train: bool) -> tuple[Tensor, Tensor]:
        """Images as uint8 (N, 28, 28) and labels as int64 (N,); put your own here."""
        count = self.samples if train else self.samples // 4
        random = np.random.default_rng(0 if train else 1)
        labels = random.integers(10, size=count)
        fonts = TRAIN_FONTS if train else TEST_FONTS
        drawn = [draw(int(label), str(random.choice(fonts)), random) for label in labels]
        images = np.stack([to_mnist(image, invert=False)[0] for image in drawn])
        return torch.from_numpy((images * 255).round().astype(np.uint8)), torch.from_numpy(labels)


def draw(digit: int, font: str, random: np.random.Generator) -> Image.Image:
    """One image: the digit about the middle, rotated by up to 12 degrees."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    size = int(random.integers(20, 27))
    middle = (14 + random.uniform(-2, 2), 14 + random.uniform(-2, 2))
    letters = ImageFont.truetype(str(folder / f"{font}.ttf"), size)
    image = Image.new("L", (28, 28))
    ImageDraw.Draw(image).text(middle, str(digit), fill=255, font=letters, anchor="mm")
    return image.rotate(random.uniform(-12, 12), Image.Resampling.BILINEAR)


def example(digit: int) -> Image.Image:
    """A digit to ask the trained model about, in a font that it has not seen."""
    return draw(digit, TEST_FONTS[0], np.random.default_rng(digit))
