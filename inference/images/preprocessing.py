"""Any picture of one digit, made to look like MNIST's pictures.

MNIST's digits are light on dark, fit a 20 x 20 box with their aspect ratio kept, and have their
center of mass in the middle of 28 x 28 (Y. LeCun, C. Cortes and C. Burges, The MNIST database of
handwritten digits, 1998).
"""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageOps

from inference.images.mnist_frame import frame

# What a decoder may allocate, whatever a file claims: 50 million pixels are 200 MB at 4 bytes.
MOST_PIXELS = 50_000_000
# Pillow refuses more than 179 million and only warns below that, where the limit here refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Formats that are pixels and nothing else; PostScript and friends would start programs.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
SUFFIXES = frozenset(
    ".png .jpg .jpeg .gif .bmp .tif .tiff .webp .ppm .pgm .pbm".split()  # noqa: SIM905
)
T = TypeVar("T")
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_WORKING_SIZE = 512  # longest side in pixels that a digit is looked at with


def to_mnist(
    image: Any, side: int = 28, invert: bool | None = None, by_mass: bool = True
) -> tuple[np.ndarray, bool]:
    """One digit as MNIST would show it.

    Args:
        image: path, content of a file as bytes, PIL image, NumPy array or torch tensor. Arrays are
            (H, W), (H, W, 1 | 3 | 4) or (1 | 3 | 4, H, W); uint8, uint16 and bool over their range,
            floats in [0, 1].
        side: width and height of the result.
        invert: True for dark ink on a light ground, False for light on dark, None to look: the
            ground is what the edge of the picture shows, and most of it inside a black border.
        by_mass: the center of mass is in the middle, as MNIST has it; otherwise that of the box.

    Returns:
        float32 pixels (side, side) in [0, 1], light on dark; and whether they were inverted.

    Raises:
        ValueError: the picture cannot be read, is too large, is empty or shows several digits.
    """
    return frame(_gray(image), side, invert, by_mass)


def _gray(image: Any) -> np.ndarray:
    return decoded(image, _from_pil)


def decoded(image: Any, convert: Callable[[Image.Image], T]) -> T:
    """What ``convert`` makes of an image of any kind that :func:`to_mnist` takes.

    Args:
        image: see :func:`to_mnist`.
        convert: takes a PIL image, of a file before its pixels are decoded; refuses what is too
            large with :func:`refuse_large`.

    Raises:
        ValueError: there is no image, or it cannot be decoded.
    """
    if isinstance(image, str | Path):
        path = Path(image)
        if not path.is_file():
            raise ValueError(
                f"{path} is not there" if not path.exists() else f"{path} is not a file"
            )
        return _read(path, str(path), convert)
    if isinstance(image, bytes):
        return _read(io.BytesIO(image), "the upload", convert)
    if isinstance(image, Image.Image):
        return convert(image)
    if hasattr(image, "detach"):  # a torch tensor; torch itself is not needed for that
        image = image.detach().cpu().numpy()
    if isinstance(image, np.ndarray):
        return convert(_from_array(image))
    raise ValueError(
        f"a {type(image).__name__} is not an image; give a path, a PIL image, an array or a tensor"
    )


def refuse_large(image: Image.Image) -> None:
    """Raises ValueError for more pixels than are decoded."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"{width} x {height} pixels are too many; {MOST_PIXELS:,} are the most, scale it down"
        )


def _read(file: Path | io.BytesIO, name: str, convert: Callable[[Image.Image], T]) -> T:
    try:
        with Image.open(file, formats=FORMATS) as image:
            return convert(image)
    except Image.UnidentifiedImageError as error:
        kinds = ", ".join(FORMATS)
        raise ValueError(f"{name} is not an image that can be read ({kinds})") from error
    except (ValueError, MemoryError, *_BOMBS) as error:
        raise ValueError(f"{name}: {error}") from error
    except Exception as error:  # decoders meet damaged files with any exception there is
        reason = str(error) or type(error).__name__
        raise ValueError(f"{name} cannot be decoded, it is damaged: {reason}") from error


def _from_pil(image: Image.Image) -> np.ndarray:
    """The first frame, turned as its EXIF tag says, over the ground that its ink needs."""
    refuse_large(image)
    if image.format == "JPEG":
        image.draft("L", (_WORKING_SIZE, _WORKING_SIZE))  # decodes at a fraction of the size
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return from_deep(image)
    if see_through := is_see_through(image):
        image = _in_mode(image, "LA" if image.mode == "LA" else "RGBA")
    elif image.mode != "L":
        image = _in_mode(image, "RGB").convert("L")
    image = ImageOps.exif_transpose(_smaller(image))
    if not see_through:
        return np.asarray(image, dtype=np.float32) / 255
    pixels = np.asarray(image.convert("RGBA").convert("LA"), dtype=np.float32) / 255
    gray, alpha = pixels[..., 0], pixels[..., 1]
    if alpha.sum() == 0:
        raise ValueError("the picture is empty: every pixel is transparent")
    # Light ink was drawn for a dark ground, dark ink for a light one.
    ground = 0.0 if (gray * alpha).sum() / alpha.sum() > 0.5 else 1.0
    return gray * alpha + ground * (1 - alpha)


def is_see_through(image: Image.Image) -> bool:
    """Whether it has an alpha channel, or one color that stands for none."""
    return image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info


def from_deep(image: Image.Image) -> np.ndarray:
    """16 and 32 bits per pixel: what they hold is stretched to [0, 1]."""
    image = ImageOps.exif_transpose(image)
    step = max(1, max(image.size) // _WORKING_SIZE)
    pixels = np.asarray(image)[::step, ::step].astype(np.float64)
    if not np.isfinite(pixels).all():
        raise ValueError("the picture holds values that are not numbers")
    span = float(np.ptp(pixels))
    return ((pixels - pixels.min()) / span if span else np.zeros_like(pixels)).astype(np.float32)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    # convert() copies even where there is nothing to do.
    return image if image.mode == mode else image.convert(mode)


def _smaller(image: Image.Image) -> Image.Image:
    factor = max(image.size) // _WORKING_SIZE
    return image.reduce(factor) if factor > 1 else image


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        array = np.moveaxis(array, 0, 2)
    if array.size == 0 or not (
        array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    ):
        raise ValueError(
            f"an array of shape {array.shape} is not an image; (H, W), (H, W, 1 | 3 | 4) or "
            "(1 | 3 | 4, H, W) expected"
        )
    if array.size > MOST_PIXELS:
        raise ValueError(f"{array.size:,} values are too many; {MOST_PIXELS:,} are the most")
    if array.dtype == np.uint8 or array.dtype == bool:
        levels = array if array.dtype == np.uint8 else array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        levels = (array >> 8).astype(np.uint8)
    elif array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ValueError("floating-point pixels must lie in [0, 1]")
        levels = (array * 255).round().astype(np.uint8)
    else:
        raise ValueError(f"pixels of type {array.dtype} are not read; use uint8 or float in [0, 1]")
    return Image.fromarray(levels[..., 0] if levels.shape[2:] == (1,) else levels)
