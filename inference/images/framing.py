"""Preprocessings: how any image becomes what a model takes. A manifest names one of them.

- ``mnist-digit``: one digit, as MNIST frames its digits (:mod:`inference.images.preprocessing`);
- ``centered-digit``: the same, but with the digit's box in the middle, not its center of mass;
- ``resize-crop``: the image scaled until it covers the model's size, and what is too long cut off
  at both ends. Training reads its files by the same function.
"""

from typing import Any

import numpy as np
from PIL import Image, ImageOps

from inference.images.inputs import DIGITS
from inference.images.preprocessing import (
    decoded,
    from_deep,
    is_see_through,
    refuse_large,
    to_mnist,
)

_GRAY = ("1", "L", "LA", "La", "I", "F")
_ORIENTATION = 0x0112  # EXIF's tag; from 5 on the image lies on its side
_SIDEWAYS = 5


def frame(
    preprocessing: str, image: Any, shape: tuple[int, ...], invert: bool | None = None
) -> tuple[np.ndarray, bool]:
    """An image as a model takes it, before its normalization.

    Args:
        preprocessing: one of :data:`~inference.images.inputs.PREPROCESSINGS`.
        image: see :func:`~inference.images.preprocessing.to_mnist`.
        shape: of the model's input: channels, height, width.
        invert: for digits, see there.

    Returns:
        float32 pixels of that shape in [0, 1]; and whether dark ink was turned into light.

    Raises:
        ValueError: the image cannot be read, or ``invert`` is given for what is not a digit.
    """
    if preprocessing in DIGITS:
        pixels, inverted = to_mnist(image, shape[-1], invert, by_mass=preprocessing == DIGITS[0])
        return pixels[None], inverted
    if invert is not None:
        raise ValueError(
            "this model takes images as they are; dark and light ink (invert, --ink) are told "
            "apart for digits alone, leave it out"
        )
    channels, height, width = shape
    pixels = resize_crop(image, channels, (height, width))
    return pixels.astype(np.float32) / 255, False


def resize_crop(image: Any, channels: int, size: tuple[int, int]) -> np.ndarray:
    """The middle of an image, scaled to cover a size (bilinear, antialiased).

    At the cut ends the filter reaches beyond them, as where an image is scaled first and cut then.

    The EXIF orientation is applied, transparent pixels lie on white, 16 bits per pixel are
    stretched to the whole range, and of an animation the first frame is taken.

    Args:
        image: see :func:`~inference.images.preprocessing.to_mnist`.
        channels: 1 for gray, 3 for color.
        size: height and width.

    Returns:
        uint8 (channels, height, width).

    Raises:
        ValueError: the image cannot be read, or is too large.
    """
    return decoded(image, lambda found: _covering(found, channels, size))


def described(image: Any) -> tuple[int, int, bool]:
    """Height, width and whether it is gray, of a file from its header alone.

    Raises:
        ValueError: it is not an image that can be read.
    """
    return decoded(image, _description)


def _description(image: Image.Image) -> tuple[int, int, bool]:
    width, height = image.size
    if image.getexif().get(_ORIENTATION, 1) >= _SIDEWAYS:
        width, height = height, width
    return height, width, image.mode in _GRAY or image.mode.startswith("I;16")


def _covering(image: Image.Image, channels: int, size: tuple[int, int]) -> np.ndarray:
    refuse_large(image)
    mode = "L" if channels == 1 else "RGB"
    if image.format == "JPEG":
        image.draft(mode, (2 * max(size), 2 * max(size)))  # decodes at a fraction of the size
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = Image.fromarray((from_deep(image) * 255).round().astype(np.uint8))
    else:
        image = ImageOps.exif_transpose(image)
    if is_see_through(image):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode != mode:
        image = image.convert("RGB").convert(mode)
    height, width = size
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR, box, reducing_gap=3)
    pixels = np.asarray(image).reshape(height, width, channels)
    return np.moveaxis(pixels, 2, 0).copy()
