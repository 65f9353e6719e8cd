"""``resize-crop``: what a model is shown of an image that is no digit."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inference.images.framing import described, frame, resize_crop

COLORS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
IMAGE = Image.fromarray(COLORS)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_an_image_of_that_size_is_itself() -> None:
    for given in (IMAGE, encoded(IMAGE), COLORS, torch.from_numpy(COLORS)):
        found = resize_crop(given, 3, (20, 30))
        np.testing.assert_array_equal(found, np.moveaxis(COLORS, 2, 0))
    pixels, inverted = frame("resize-crop", IMAGE, (3, 20, 30))
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, np.moveaxis(COLORS, 2, 0) / 255, atol=1e-6)
    assert not inverted


@pytest.mark.parametrize("wide", [True, False])
def test_the_middle_is_shown_and_the_ends_are_cut(wide: bool) -> None:
    pixels = np.zeros((40, 120, 3), dtype=np.uint8)
    pixels[:, 40:80] = (255, 128, 0)
    image = Image.fromarray(pixels if wide else pixels.swapaxes(0, 1))
    found = resize_crop(image, 3, (10, 10))[:, 1:-1, 1:-1]
    assert (found == np.array([255, 128, 0]).reshape(3, 1, 1)).all()


def test_gray_and_color() -> None:
    gray = resize_crop(IMAGE, 1, (20, 30))
    np.testing.assert_array_equal(gray[0], np.asarray(IMAGE.convert("L")))
    color = resize_crop(IMAGE.convert("L"), 3, (20, 30))
    assert (color == color[:1]).all()


def test_orientation_transparency_palette_and_depth() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    turned = encoded(IMAGE.rotate(90, expand=True), exif=exif)
    np.testing.assert_array_equal(resize_crop(turned, 3, (20, 30)), np.moveaxis(COLORS, 2, 0))
    assert described(turned) == (20, 30, False)
    clear = Image.new("RGBA", (16, 16), (200, 0, 0, 0))
    assert (resize_crop(clear, 3, (8, 8)) == 255).all()
    palette = Image.new("P", (16, 16))
    palette.putpalette([9, 8, 7] * 256)
    assert resize_crop(palette, 3, (8, 8))[:, 0, 0].tolist() == [9, 8, 7]
    deep = Image.fromarray(np.linspace(0, 60_000, 256, dtype=np.uint16).reshape(16, 16))
    found = resize_crop(encoded(deep), 1, (16, 16))
    assert (found.min(), found.max()) == (0, 255)
    assert described(encoded(deep)) == (16, 16, True)


def test_a_file_and_an_upload_are_the_same(tmp_path: Path) -> None:
    """Training reads files, a server uploads; a JPEG is decoded at a fraction of its size."""
    large = IMAGE.resize((900, 600), Image.Resampling.NEAREST)
    path = tmp_path / "large.jpg"
    large.save(path)
    found = resize_crop(path, 3, (20, 20))
    np.testing.assert_array_equal(resize_crop(path.read_bytes(), 3, (20, 20)), found)
    plain = resize_crop(large, 3, (20, 20))
    assert np.abs(found.astype(int) - plain.astype(int)).mean() < 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an image that can be read"),
        (encoded(IMAGE)[:300], "cannot be decoded, it is damaged"),
        (encoded(Image.new("L", (8000, 8000))), "are too many"),
    ],
)
def test_what_cannot_be_decoded(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resize_crop(content, 3, (8, 8))


def test_ink_is_a_matter_of_digits() -> None:
    with pytest.raises(ValueError, match=r"this model takes images as they are"):
        frame("resize-crop", IMAGE, (3, 8, 8), invert=True)
