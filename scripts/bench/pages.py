"""Images of one digit as people make them: scans, photos, screenshots, other kinds of files.

Every kind is a function of a digit (28 x 28, uint8, light on dark, as MNIST has them) and a random
generator, and returns the content of a file.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from scripts.bench.paper import (
    HEIGHT,
    WIDTH,
    border,
    coverage,
    encoded,
    levels,
    lines,
    shadow,
    texture,
    tones,
)

Page = Callable[[np.ndarray, np.random.Generator], bytes]


def plain(**options: float) -> Page:
    """Black ink on white paper; ``options`` are those of :func:`coverage`."""
    return lambda digit, rng: encoded(tones(coverage(digit, rng, **options)))  # type: ignore[arg-type]


def light_ink(digit: np.ndarray, rng: np.random.Generator) -> bytes:
    return encoded(tones(coverage(digit, rng), tone=0.8))


def noise(sigma: float, tone: float = 0.0) -> Page:
    """Gray levels of Gaussian noise on paper that is not quite white."""

    def page(digit: np.ndarray, rng: np.random.Generator) -> bytes:
        clean = tones(coverage(digit, rng), tone, paper=0.9)
        return encoded(clean + rng.normal(0, sigma / 255, clean.shape))

    return page


def jpeg(quality: int) -> Page:
    return lambda digit, rng: encoded(tones(coverage(digit, rng)), "JPEG", quality=quality)


def rough_paper(digit: np.ndarray, rng: np.random.Generator) -> bytes:
    return encoded(tones(coverage(digit, rng), tone=0.1, paper=0.9) * texture(rng))


def ruled(tone: float, grid: bool = False, tilt: float = 0.0) -> Page:
    def page(digit: np.ndarray, rng: np.random.Generator) -> bytes:
        printed = lines(rng, tone, grid=grid, tilt=tilt)
        return encoded(np.minimum(tones(coverage(digit, rng)), printed))

    return page


def scanned(sides: str, tone: float = 0.0, tilt: float = 0.0) -> Page:
    """A black border; ``sides`` "?" is one side, whichever."""

    def page(digit: np.ndarray, rng: np.random.Generator) -> bytes:
        chosen = "lrtb"[rng.integers(4)] if sides == "?" else sides
        clean = tones(coverage(digit, rng), tone)
        return encoded(np.where(border(rng, chosen, tilt), 0.02, clean))

    return page


def shaded(loss: float, edge: float = 1.0) -> Page:
    def page(digit: np.ndarray, rng: np.random.Generator) -> bytes:
        clean = tones(coverage(digit, rng), tone=0.1, paper=0.95)
        return encoded(clean * shadow(rng, loss, edge))

    return page


def blurred(radius: float) -> Page:
    def page(digit: np.ndarray, rng: np.random.Generator) -> bytes:
        clean = Image.fromarray(levels(tones(coverage(digit, rng))))
        return encoded(clean.filter(ImageFilter.GaussianBlur(radius)))

    return page


def pencil_page(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Thin gray strokes that let the grain of the paper through."""
    ink = coverage(digit, rng, thin=3) * (0.75 + 0.25 * rng.random((HEIGHT, WIDTH)))
    return tones(ink, tone=0.5, paper=0.96)


def pencil(digit: np.ndarray, rng: np.random.Generator) -> bytes:
    return encoded(pencil_page(digit, rng))


def colored(ink: tuple[int, int, int], paper: tuple[int, int, int]) -> Page:
    def page(digit: np.ndarray, rng: np.random.Generator) -> bytes:
        cover = coverage(digit, rng)[..., None]
        colors = np.array(paper) + (np.array(ink) - np.array(paper)) * cover
        return encoded(Image.fromarray(np.rint(colors).astype(np.uint8)))

    return page


def white_on_black(digit: np.ndarray, rng: np.random.Generator) -> bytes:
    return encoded(coverage(digit, rng))


def turned_by_exif(digit: np.ndarray, rng: np.random.Generator) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    page = Image.fromarray(levels(tones(coverage(digit, rng)))).transpose(Image.Transpose.ROTATE_90)
    return encoded(page, "JPEG", quality=90, exif=exif)


def faint_pixel(digit: np.ndarray, rng: np.random.Generator) -> bytes:
    page = levels(tones(coverage(digit, rng)))
    page[5, 5] = 254
    return encoded(Image.fromarray(page))


def specks(count: int, size: tuple[int, int], tone: float = 0.0, ink: float = 0.0) -> Page:
    """Dust: so many dots of so many pixels, anywhere on the page."""

    def page(digit: np.ndarray, rng: np.random.Generator) -> bytes:
        drawn = tones(coverage(digit, rng), ink)
        for _ in range(count):
            side = rng.integers(size[0], size[1] + 1)
            top, left = rng.integers(0, HEIGHT - side), rng.integers(0, WIDTH - side)
            drawn[top : top + side, left : left + side] = tone
        return encoded(drawn)

    return page


def transparent(ink: int) -> Page:
    """Ink of one tone on nothing."""

    def page(digit: np.ndarray, rng: np.random.Generator) -> bytes:
        pixels = np.full((HEIGHT, WIDTH, 4), ink, np.uint8)
        pixels[..., 3] = levels(coverage(digit, rng))
        return encoded(Image.fromarray(pixels))

    return page


def sixteen_bit(digit: np.ndarray, rng: np.random.Generator) -> bytes:
    page = tones(coverage(digit, rng), tone=0.2, paper=0.9)
    page += rng.normal(0, 0.004, page.shape)
    return encoded(Image.fromarray((np.clip(page, 0, 1) * 65535).astype(np.uint16)))


def converted(mode: str, kind: str) -> Page:
    return lambda digit, rng: encoded(
        Image.fromarray(levels(tones(coverage(digit, rng)))).convert("RGB").convert(mode), kind
    )


def photo(digit: np.ndarray, rng: np.random.Generator) -> bytes:
    """Much of the above at once: ruled rough paper, pen, shadow, blur, noise and JPEG."""
    page = np.minimum(tones(coverage(digit, rng), tone=0.15, paper=0.9), lines(rng, 0.7, tilt=0.7))
    page = page * texture(rng, 0.03) * shadow(rng, 0.3)
    page += rng.normal(0, 3 / 255, page.shape)
    soft = Image.fromarray(levels(page)).filter(ImageFilter.GaussianBlur(1.5))
    return encoded(soft, "JPEG", quality=75)


def scan(digit: np.ndarray, rng: np.random.Generator) -> bytes:
    """Pencil on grid paper, a tilted black border and dust, as JPEG."""
    page = np.minimum(pencil_page(digit, rng), lines(rng, 0.85, grid=True))
    page = np.where(border(rng, "lrtb", tilt=1), 0.02, page)
    for top, left in zip(rng.integers(0, HEIGHT, 6), rng.integers(0, WIDTH, 6), strict=True):
        page[top : top + 3, left : left + 3] = 0.1
    return encoded(page, "JPEG", quality=85)


def eight_by_eight(digit: np.ndarray, rng: np.random.Generator) -> bytes:
    """MNIST's box in a file of 8 x 8 pixels."""
    rows, columns = np.nonzero(digit)
    top = min(max(0, (rows.min() + rows.max() + 1) // 2 - 10), 8)
    left = min(max(0, (columns.min() + columns.max() + 1) // 2 - 10), 8)
    box = Image.fromarray(digit[top : top + 20, left : left + 20])
    return encoded(box.resize((8, 8), Image.Resampling.BOX))


def as_it_is(digit: np.ndarray, rng: np.random.Generator) -> bytes:
    return encoded(Image.fromarray(digit))


KINDS: dict[str, Page] = {
    "28 x 28, the digit's own": as_it_is,
    "plain": plain(),
    "light ink": light_ink,
    "noise, sigma 0.3": noise(0.3),
    "noise, sigma 1": noise(1),
    "noise, sigma 3": noise(3),
    "noise, sigma 8": noise(8),
    "noise, sigma 8, light ink": noise(8, tone=0.65),
    "JPEG 95": jpeg(95),
    "JPEG 75": jpeg(75),
    "JPEG 50": jpeg(50),
    "JPEG 30": jpeg(30),
    "rough paper": rough_paper,
    "ruled": ruled(0.65),
    "ruled, dark": ruled(0.2),
    "ruled, dark, tilted": ruled(0.2, tilt=1.5),
    "grid": ruled(0.65, grid=True),
    "grid, dark": ruled(0.2, grid=True),
    "black border, one side": scanned("?"),
    "black border, all sides": scanned("lrtb"),
    "black border, tilted": scanned("lrtb", tilt=2),
    "black border, light ink": scanned("lrtb", tone=0.75),
    "shadow, 20 % across": shaded(0.2),
    "shadow, 50 % across": shaded(0.5),
    "shadow with an edge, 40 %": shaded(0.4, edge=0.05),
    "blur, 3 pixels": blurred(3),
    "blur, 8 pixels": blurred(8),
    "small, 30 pixels": plain(size=30),
    "large, 560 pixels": plain(size=560),
    "pencil": pencil,
    "blue ink": colored((40, 60, 180), (255, 255, 255)),
    "red ink on cream": colored((200, 40, 40), (250, 240, 215)),
    "white on black": white_on_black,
    "chalk on green": colored((235, 235, 225), (35, 80, 60)),
    "turned by EXIF": turned_by_exif,
    "one faint pixel": faint_pixel,
    "one speck of 3 x 3": specks(1, (3, 3)),
    "a dozen specks": specks(12, (2, 6)),
    "a dozen specks, light ink": specks(12, (2, 4), ink=0.75),
    "off-center": plain(spread=1.0),
    "transparent, black ink": transparent(0),
    "transparent, white ink": transparent(255),
    "16 bit": sixteen_bit,
    "CMYK": converted("CMYK", "TIFF"),
    "palette": converted("P", "PNG"),
    "photo of a ruled page": photo,
    "scan of a pencil on grid paper": scan,
    "8 x 8": eight_by_eight,
}
