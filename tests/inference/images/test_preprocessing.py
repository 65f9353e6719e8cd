"""Pictures of every kind, well made and hostile."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits

from datamodules import DigitsDataModule
from inference.images.preprocessing import to_mnist
from tests.conftest import ROOT

DIGIT = (np.kron(load_digits().images[7], np.ones((30, 30))) * (255 / 16)).astype(np.uint8)
DIGIT = np.pad(DIGIT, 40)  # light on dark, 320 x 320
PICTURE = Image.fromarray(DIGIT)


def png(width: int, height: int, color: int = 0) -> bytes:
    """A black PNG of any size in little memory; ``color`` 0 is gray, 6 is RGBA."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    packer = zlib.compressobj(9)
    row = bytes(1 + width * (4 if color == 6 else 1))
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def over(ink: int) -> Image.Image:
    pixels = np.full((*DIGIT.shape, 4), ink, dtype=np.uint8)
    pixels[..., 3] = DIGIT
    return Image.fromarray(pixels)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    return encoded(PICTURE.rotate(90), "JPEG", exif=exif)


DARK = Image.fromarray(255 - DIGIT)
READABLE = {
    "gray png": (encoded(PICTURE, "PNG"), False),
    "jpeg, dark ink": (encoded(DARK, "JPEG", quality=60), True),
    "rgb": (encoded(DARK.convert("RGB"), "PNG"), True),
    "cmyk jpeg": (encoded(DARK.convert("CMYK"), "JPEG"), True),
    "cmyk tiff": (encoded(DARK.convert("CMYK"), "TIFF"), True),
    "palette": (encoded(PICTURE.convert("P"), "PNG"), False),
    "black on transparent": (encoded(over(0), "PNG"), True),
    "white on transparent": (encoded(over(255), "PNG"), False),
    "16 bit": (encoded(Image.fromarray(DIGIT.astype(np.uint16) * 257), "PNG"), False),
    "32 bit": (encoded(Image.fromarray(DIGIT.astype(np.int32) * 1000), "TIFF"), False),
    "float": (encoded(Image.fromarray(DIGIT.astype(np.float32)), "TIFF"), False),
    "animated gif": (
        encoded(PICTURE, "GIF", save_all=True, append_images=[DARK] * 5),
        False,
    ),
    "animated png": (encoded(PICTURE, "PNG", save_all=True, append_images=[DARK]), False),
    "exif": (turned(), False),
    "webp": (encoded(PICTURE, "WEBP", lossless=True), False),
    "large": (encoded(PICTURE.resize((3200, 3200), Image.Resampling.NEAREST), "PNG"), False),
}


@pytest.mark.parametrize("name", READABLE)
def test_every_kind_of_file_shows_the_same_digit(name: str, tmp_path: Path) -> None:
    content, dark = READABLE[name]
    expected, _ = to_mnist(DIGIT)
    path = tmp_path / "digit"
    path.write_bytes(content)
    for source in (path, str(path), content):
        framed, inverted = to_mnist(source)
        assert inverted is dark
        assert framed.shape == (28, 28)
        assert np.abs(framed - expected).mean() < 0.04


PNG = READABLE["gray png"][0]
HOSTILE = {
    "truncated": PNG[: len(PNG) // 2],
    "truncated jpeg": READABLE["exif"][0][:900],
    "header only": PNG[:33],
    "no bytes": b"",
    "text": b"this is not an image\n" * 50,
    "corrupt": PNG[:60] + bytes(80) + PNG[140:],
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\nshowpage\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><circle r="4"/></svg>',
    "random bmp": b"BM" + np.random.default_rng(0).bytes(4000),
    "empty": encoded(Image.new("L", (50, 50), 255), "PNG"),
    "transparent": encoded(Image.new("RGBA", (50, 50)), "PNG"),
    "one pixel": encoded(Image.new("L", (1, 1), 9), "PNG"),
    "not a number": encoded(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_an_error_of_one_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.png"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(ValueError, match=r"not an image|damaged|empty|not numbers"):
        to_mnist(path)


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is Unix's")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_bombs_do_not_fill_the_memory(tmp_path: Path) -> None:
    for number, content in enumerate(
        [png(20_000, 20_000), png(13_000, 13_000), png(7000, 7000, 6)]
    ):
        (tmp_path / f"{number}.png").write_bytes(content)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from inference.images.preprocessing import to_mnist\n"
        "for path in sys.argv[1:]:\n"
        "    try: to_mnist(path)\n"
        "    except ValueError as error: print(error)\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(status.split('VmHWM:')[1].split()[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *sorted(tmp_path.glob("*.png"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done.stderr
    assert "bomb" in lines[0]
    assert "too many" in lines[1]
    assert "transparent" in lines[2]
    # Not getrusage: what that says of a child begins with the size of who started it.
    assert int(lines[3]) * 1024 < 1e9


def test_arrays_and_tensors_of_every_layout() -> None:
    expected, _ = to_mnist(DIGIT)
    color = np.stack([DIGIT] * 3, axis=-1)
    for image in (
        PICTURE,
        DIGIT[..., None],
        DIGIT[None],
        color,
        np.moveaxis(color, -1, 0),
        DIGIT / 255,
        DIGIT.astype(np.uint16) * 257,
        torch.from_numpy(DIGIT),
        torch.from_numpy(DIGIT)[None].float() / 255,
    ):
        framed, inverted = to_mnist(image)
        assert not inverted
        assert np.abs(framed - expected).max() < 0.01
    assert to_mnist(DIGIT > 128)[0].max() == 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 2, 2, 2)), "shape"),
        (np.zeros((0, 5)), "shape"),
        (np.full((5, 5), 7.0), r"\[0, 1\]"),
        (np.full((5, 5), np.nan), r"\[0, 1\]"),
        (np.zeros((5, 5), dtype=np.int64), "int64"),
        ("nowhere.png", "not there"),
        (".", "not a file"),
        (7, "a int is not an image"),
    ],
)
def test_what_is_no_image(image: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_mnist(image)


def test_the_polarity_can_be_told() -> None:
    assert to_mnist(DIGIT, invert=False)[1] is False
    assert to_mnist(255 - DIGIT, invert=True)[1] is True
    with pytest.raises(ValueError, match="no dark ink"):
        to_mnist(DIGIT, invert=True)
    with pytest.raises(ValueError, match="no light ink"):
        to_mnist(255 - DIGIT, invert=False)


def test_mnist_comes_out_as_it_is() -> None:
    """To the last bit; its strongest ink is white."""
    path = ROOT / "data" / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    images = np.frombuffer(path.read_bytes(), np.uint8, offset=16).reshape(-1, 28, 28)[:4000]
    for image in images:
        framed, inverted = to_mnist(image)
        assert not inverted
        pixels = np.float32(image) / 255
        np.testing.assert_array_equal(framed, pixels / pixels.max())
    for image in images[:200]:
        framed, inverted = to_mnist(encoded(Image.fromarray(255 - image), "PNG"))
        assert inverted
        np.testing.assert_allclose(framed, image / image.max(), atol=1e-6)


def test_what_is_framed_comes_out_as_it_is() -> None:
    for digit in load_digits().images[:50]:
        large = np.pad(np.kron(digit, np.ones((30, 30))) * (255 / 16), 40).astype(np.uint8)
        framed = (to_mnist(large)[0] * 255).round().astype(np.uint8)
        np.testing.assert_array_equal(to_mnist(framed)[0], np.float32(framed) / 255)


def test_scanned_digits_are_left_as_training_has_them() -> None:
    for train in (True, False):
        images, _ = DigitsDataModule()._read(train)
        for image in images.numpy():
            pixels, inverted = to_mnist(image, by_mass=False)
            assert not inverted
            np.testing.assert_array_equal((pixels * 255).round(), image)


def test_a_seven_is_placed_by_its_box_or_by_its_mass() -> None:
    page = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(page).line([(50, 50), (150, 50), (90, 170)], fill=0, width=16)
    rows = {
        by_mass: np.flatnonzero(to_mnist(page, by_mass=by_mass)[0].any(1)) for by_mass in (0, 1)
    }
    assert (rows[0][0], rows[0][-1]) == (4, 23)
    assert (rows[1][0], rows[1][-1]) == (8, 27)  # most of its ink is above
