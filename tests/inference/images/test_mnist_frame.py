"""The digit of a page is found whatever else is on it."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from datamodules.digits import DigitsDataModule
from inference.images.mnist_frame import _thickened, dilated
from inference.images.preprocessing import to_mnist
from scripts.bench.pages import KINDS
from scripts.bench.paper import HEIGHT, WIDTH
from tests.conftest import ROOT

COUNT = 10  # one of each digit
FAR = 0.07  # how far a framed digit may be from that of the plain page, per pixel, on average
FARTHER = {"8 x 8": 0.12}


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    """One scanned digit of each kind, 28 x 28."""
    images, labels = DigitsDataModule()._read(train=False)
    return np.stack([images[labels == label][0].numpy() for label in range(COUNT)])


@pytest.fixture(scope="module")
def plain(digits: np.ndarray) -> np.ndarray:
    return np.stack([framed(KINDS["plain"], digit, 0) for digit in digits])


def framed(page, digit: np.ndarray, seed: int) -> np.ndarray:
    return to_mnist(page(digit, np.random.default_rng(seed)))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_spoiled_page_shows_the_digit_of_the_plain_page(
    kind: str, digits: np.ndarray, plain: np.ndarray
) -> None:
    for number, digit in enumerate(digits):
        off = np.abs(framed(KINDS[kind], digit, number) - plain).mean(axis=(1, 2))
        assert off.argmin() == number
        assert off[number] < FARTHER.get(kind, FAR)


def drawn(ink: int = 0, paper: int = 255) -> np.ndarray:
    """A page (H, W) with a figure 7 of two bars: columns 200 to 299, rows 300 to 499."""
    page = np.full((HEIGHT, WIDTH), paper, np.uint8)
    page[300:330, 200:300] = ink
    page[300:500, 270:300] = ink
    return page


def seven() -> np.ndarray:
    """What becomes of it: 10 of 20 pixels wide, bars of three, its center of mass in the middle."""
    pixels, _ = to_mnist(drawn())
    return pixels


def test_the_box_is_the_digits_own() -> None:
    pixels = seven()
    rows, columns = np.nonzero(pixels > 0.5)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 26, 7, 16)
    assert pixels[pixels > 0.5].mean() > 0.9


@pytest.mark.parametrize(
    "spot",
    [
        (slice(5, 6), slice(5, 6), 254),  # one faint pixel
        (slice(0, 1), slice(0, 1), 0),  # one black pixel in the corner
        (slice(700, 703), slice(500, 503), 0),  # dust
        (slice(0, HEIGHT), slice(0, 40), 0),  # a black border
        (slice(600, 602), slice(0, WIDTH), 90),  # a ruled line
        (slice(100, 103), slice(50, 400), 200),  # a crease
    ],
)
def test_what_is_beside_the_digit_changes_no_pixel(spot: tuple[slice, slice, int]) -> None:
    page = drawn()
    rows, columns, tone = spot
    page[rows, columns] = tone
    np.testing.assert_allclose(to_mnist(page)[0], seven(), atol=0.02)
    np.testing.assert_allclose(to_mnist(255 - page)[0], seven(), atol=0.02)


def test_a_black_border_does_not_turn_the_page_round() -> None:
    page = drawn(ink=190, paper=240)
    page[:50] = page[-50:] = 0
    page[:, :50] = page[:, -50:] = 0
    pixels, inverted = to_mnist(page)
    assert inverted
    np.testing.assert_allclose(pixels, seven(), atol=0.02)


def test_a_bar_on_black_is_a_one_and_no_page() -> None:
    bar = np.zeros((100, 40), np.uint8)
    bar[5:95, 5:35] = 255
    pixels, inverted = to_mnist(bar)
    assert not inverted
    assert (pixels > 0.5).sum() == pytest.approx(20 * 7, abs=14)


def test_a_digit_may_touch_the_edge(digits: np.ndarray, plain: np.ndarray) -> None:
    for digit, expected in zip(digits, plain, strict=True):
        rows, columns = np.nonzero(digit)
        cut = digit[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        large = np.asarray(Image.fromarray(cut).resize((6 * cut.shape[1], 6 * cut.shape[0])))
        for image, invert in ((large, False), (255 - large, True)):
            assert np.abs(to_mnist(image, invert=invert)[0] - expected).mean() < 0.1


def test_parts_of_a_digit_belong_to_it() -> None:
    page = drawn()
    page[300:330, 262:268] = 255  # a gap between the bars
    np.testing.assert_allclose(to_mnist(page)[0], seven(), atol=0.6)
    assert np.abs(to_mnist(page)[0] - seven()).mean() < 0.02


def test_several_digits_are_refused() -> None:
    page = drawn()
    page[:, 350:450] = page[:, 200:300]
    with pytest.raises(ValueError, match="several digits; crop it to one"):
        to_mnist(page)


def test_small_print_is_not_read_for_the_digit() -> None:
    page = drawn()
    for row in (80, 110):
        for column in range(60, 540, 14):
            page[row : row + 10, column : column + 6] = 0
    np.testing.assert_allclose(to_mnist(page)[0], seven(), atol=0.02)


def test_a_fine_pen_is_read_as_a_pen_of_mnists_writers() -> None:
    """Strokes of 0.3 of MNIST's pixels would be lines of faint gray."""
    page = np.full((HEIGHT, WIDTH), 255, np.uint8)
    page[300:303, 200:300] = 0
    page[300:500, 297:300] = 0
    pixels, _ = to_mnist(page)
    across, down = pixels.sum(0).max(), pixels.sum(1)
    assert across > 19  # the stem has its length
    assert 2 < np.median(down[down > 0]) < 3.5  # and the width of MNIST's strokes
    assert (pixels > 0.9).sum() > 20
    # What is as wide already is left as it is.
    bars = np.zeros((60, 60), np.float32)
    bars[:8] = bars[:, -8:] = 1
    assert _thickened(bars) is bars


def test_a_dilation_is_that_by_a_disc() -> None:
    ink = np.random.default_rng(0).random((13, 7)).astype(np.float32)
    for reach in (1, 2, 5):
        wide = np.pad(ink, reach)
        expected = wide.copy()
        for down in range(-reach, reach + 1):
            for across in range(-reach, reach + 1):
                if down**2 + across**2 <= reach**2:
                    expected = np.maximum(expected, np.roll(wide, (down, across), (0, 1)))
        np.testing.assert_array_equal(dilated(ink, reach), expected)


def test_the_reader_needs_numpy_and_pillow_alone() -> None:
    code = (
        "import sys, numpy as np\n"
        "from inference.images.preprocessing import to_mnist\n"
        "page = np.full((400, 300), 255, np.uint8)\n"
        "page[100:300, 140:160] = 20\n"
        "to_mnist(page)\n"
        "sys.exit(str({'scipy', 'torch', 'lightning'} & set(sys.modules) or ''))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_pages_are_files_of_their_kind(digits: np.ndarray) -> None:
    def opened(kind: str) -> Image.Image:
        return Image.open(io.BytesIO(KINDS[kind](digits[3], np.random.default_rng(0))))

    assert opened("CMYK").mode == "CMYK"
    assert opened("palette").mode == "P"
    assert opened("16 bit").mode == "I;16"
    assert opened("transparent, black ink").mode == "RGBA"
    assert opened("8 x 8").size == (8, 8)
    assert opened("turned by EXIF").size == (HEIGHT, WIDTH)
    assert np.asarray(opened("one faint pixel")).tolist()[5][5] == 254
