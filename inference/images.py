"""Any picture of one digit, made to look like MNIST's pictures.

MNIST's digits are light on dark, fit a 20 x 20 box with their aspect ratio kept, and have their
centre of mass in the middle of 28 x 28 (Y. LeCun, C. Cortes and C. Burges, The MNIST database of
handwritten digits, 1998).
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

# What a decoder may allocate, whatever a file claims: 64 million pixels are 256 MB at 4 bytes.
MOST_PIXELS = 64_000_000
# Formats that are pixels and nothing else; PostScript and friends would start programs.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
SUFFIXES = frozenset(
    ".png .jpg .jpeg .gif .bmp .tif .tiff .webp .ppm .pgm .pbm".split()  # noqa: SIM905
)
_WORKING_SIZE = 512  # longest side in pixels that a digit is looked at with
_BOX = 20
_FAINTEST = 16 / 255  # less contrast than that is an empty picture
_NOISE = 6  # standard deviations of the ground's tone that are not ink yet


def to_mnist(image: Any, side: int = 28, invert: bool | None = None) -> tuple[np.ndarray, bool]:
    """One digit as MNIST would show it.

    Args:
        image: path, PIL image, NumPy array or torch tensor: (H, W), (H, W, 1 | 3 | 4) or
            (1 | 3 | 4, H, W); uint8, uint16 and bool over their range, floats in [0, 1].
        side: width and height of the result.
        invert: True for dark ink on a light ground, False for light on dark, None to look: the
            ground is what the edge of the picture shows.

    Returns:
        float32 pixels (side, side) in [0, 1], light on dark; and whether they were inverted.

    Raises:
        ValueError: the picture cannot be read, is too large, or is empty.
    """
    grey = _grey(image)  # (H, W) in [0, 1]
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    low, high = float(grey.min()), float(grey.max())
    if high - low < _FAINTEST:
        raise ValueError("the picture is empty: it has one tone only")
    ground = float(np.median(edge))
    inverted = ground > (low + high) / 2 if invert is None else invert
    ink = ground - grey if inverted else grey - ground
    if ink.max() < _FAINTEST:
        tone = "dark" if inverted else "light"
        raise ValueError(f"the picture has no {tone} ink; leave the polarity to be detected")
    # The median deviation ignores a digit that touches the edge (times 1.48 for the standard one).
    noise = _NOISE * 1.48 * float(np.median(np.abs(edge - ground))) / float(ink.max())
    ink = np.clip(ink / ink.max(), 0, 1).astype(np.float32)
    ink[ink <= min(noise, 0.5)] = 0
    return _frame(ink, side), inverted


def _frame(ink: np.ndarray, side: int) -> np.ndarray:
    """Crops to the digit, fits it into the box and puts its centre of mass in the middle."""
    rows, columns = np.nonzero(ink)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    digit = Image.fromarray(ink[top:bottom, left:right])
    box = round(_BOX * side / 28)
    scale = box / max(digit.size)
    size = (max(1, round(digit.width * scale)), max(1, round(digit.height * scale)))
    if size != digit.size:
        digit = digit.resize(size, Image.Resampling.LANCZOS)
    pixels = np.clip(np.asarray(digit), 0, 1)  # (h, w), at most box x box
    weight = pixels.sum()
    height, width = pixels.shape
    middle = side / 2  # where MNIST has it: 14.0 counted from pixel 0, on average over the set
    y = round(middle - float((pixels.sum(1) * np.arange(height)).sum() / weight))
    x = round(middle - float((pixels.sum(0) * np.arange(width)).sum() / weight))
    y, x = min(max(y, 0), side - height), min(max(x, 0), side - width)
    framed = np.zeros((side, side), dtype=np.float32)
    framed[y : y + height, x : x + width] = pixels
    return framed


def _grey(image: Any) -> np.ndarray:
    if isinstance(image, str | Path):
        return _read(Path(image))
    if isinstance(image, Image.Image):
        return _from_pil(image)
    if hasattr(image, "detach"):  # a torch tensor; torch itself is not needed for that
        image = image.detach().cpu().numpy()
    if isinstance(image, np.ndarray):
        return _from_array(image)
    raise ValueError(
        f"a {type(image).__name__} is no image; give a path, a PIL image, an array or a tensor"
    )


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise ValueError(f"{path} is not there" if not path.exists() else f"{path} is no file")
    try:
        with Image.open(path, formats=FORMATS) as image:
            return _from_pil(image)
    except Image.UnidentifiedImageError as error:
        kinds = ", ".join(FORMATS)
        raise ValueError(f"{path} is no image that can be read ({kinds})") from error
    except (ValueError, MemoryError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # decoders meet damaged files with any exception there is
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be decoded, it is damaged: {reason}") from error


def _from_pil(image: Image.Image) -> np.ndarray:
    """The first frame, turned as its EXIF tag says, over the ground that its ink needs."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"{width} x {height} pixels are too many; {MOST_PIXELS:,} are the most, scale it down"
        )
    if image.format == "JPEG":
        image.draft("L", (_WORKING_SIZE, _WORKING_SIZE))  # decodes at a fraction of the size
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_deep(image)
    see_through = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
    image = image.convert("LA" if image.mode == "LA" else "RGBA") if see_through else image
    image = image if see_through or image.mode == "L" else image.convert("RGB").convert("L")
    image = ImageOps.exif_transpose(_smaller(image))
    if not see_through:
        return np.asarray(image, dtype=np.float32) / 255
    pixels = np.asarray(image.convert("RGBA").convert("LA"), dtype=np.float32) / 255
    grey, alpha = pixels[..., 0], pixels[..., 1]
    if alpha.sum() == 0:
        raise ValueError("the picture is empty: every pixel is transparent")
    # Light ink was drawn for a dark ground, dark ink for a light one.
    ground = 0.0 if (grey * alpha).sum() / alpha.sum() > 0.5 else 1.0
    return grey * alpha + ground * (1 - alpha)


def _from_deep(image: Image.Image) -> np.ndarray:
    """16 and 32 bits a pixel: what they hold is stretched to [0, 1]."""
    image = ImageOps.exif_transpose(image)
    step = max(1, max(image.size) // _WORKING_SIZE)
    pixels = np.asarray(image)[::step, ::step].astype(np.float64)
    if not np.isfinite(pixels).all():
        raise ValueError("the picture holds values that are not numbers")
    span = float(np.ptp(pixels))
    return ((pixels - pixels.min()) / span if span else np.zeros_like(pixels)).astype(np.float32)


def _smaller(image: Image.Image) -> Image.Image:
    factor = max(image.size) // _WORKING_SIZE
    return image.reduce(factor) if factor > 1 else image


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        array = np.moveaxis(array, 0, 2)
    if array.size == 0 or not (
        array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    ):
        raise ValueError(
            f"an array of shape {array.shape} is no image; (H, W), (H, W, 1 | 3 | 4) or "
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
    return _from_pil(Image.fromarray(levels[..., 0] if levels.shape[2:] == (1,) else levels))
