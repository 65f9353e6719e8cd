"""What pages are made of: ink, paper, ruled lines, a scanner's border, a shadow, and their file."""

import io

import numpy as np
from PIL import Image, ImageFilter

WIDTH, HEIGHT = 600, 800  # pixels of a page
DIGIT = 180  # pixels that MNIST's box of 20 x 20 is enlarged to
LINE = 32  # pixels from one ruled line to the next


def coverage(
    digit: np.ndarray,
    rng: np.random.Generator,
    size: int = DIGIT,
    spread: float = 0.2,
    thin: int = 0,
) -> np.ndarray:
    """How much of each pixel of a page is ink, (HEIGHT, WIDTH) in [0, 1].

    Args:
        digit: (28, 28), uint8.
        rng: decides the position.
        size: pixels of MNIST's box on the page.
        spread: how far from the middle it may lie, as a share of the room that there is; 1 is
            anywhere as long as the box stays on the page.
        thin: pixels that strokes lose on either side.
    """
    whole = round(size * 28 / 20)
    scaled = Image.fromarray(digit).resize((whole, whole), Image.Resampling.BICUBIC)
    if thin:
        scaled = scaled.filter(ImageFilter.MinFilter(2 * thin + 1))
    rows, columns = np.nonzero(np.asarray(scaled))
    cut = np.asarray(scaled, np.float32)[
        rows.min() : rows.max() + 1, columns.min() : columns.max() + 1
    ]
    page = np.zeros((HEIGHT, WIDTH), np.float32)
    room = np.array(page.shape) - cut.shape - 10
    top, left = (5 + room * (0.5 + spread * (rng.random(2) - 0.5))).astype(int)
    page[top : top + cut.shape[0], left : left + cut.shape[1]] = cut / 255
    return page


def tones(ink: np.ndarray, tone: float = 0.0, paper: float = 1.0) -> np.ndarray:
    """Gray of a page in [0, 1] where ``ink`` covers the paper."""
    return paper + (tone - paper) * ink


def encoded(page: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The file of a page: gray in [0, 1], or an image."""
    image = page if isinstance(page, Image.Image) else Image.fromarray(levels(page))
    if kind == "PNG":
        options["compress_level"] = 0
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def levels(page: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(page * 255), 0, 255).astype(np.uint8)


def texture(rng: np.random.Generator, strength: float = 0.06) -> np.ndarray:
    """Relative brightness of rough paper: fibres, grain and stains of a tenth of the page."""
    page = np.ones((HEIGHT, WIDTH), np.float32)
    for cells, share in ((7, 1.0), (60, 0.5), (300, 0.5)):
        field = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
        scaled = field.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        page += strength * share / 2 * np.asarray(scaled)
    return page


def lines(
    rng: np.random.Generator, tone: float, thick: int = 2, grid: bool = False, tilt: float = 0.0
) -> np.ndarray:
    """What printed lines leave of the light, (HEIGHT, WIDTH): ruled, or a grid; tilt in degrees."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    turn = np.tan(np.radians(tilt))
    first = rng.integers(LINE)
    printed = (rows + turn * columns + first) % LINE < thick
    if grid:
        printed |= (columns - turn * rows + first) % LINE < thick
    return np.where(printed, tone, 1).astype(np.float32)


def border(rng: np.random.Generator, sides: str, tilt: float = 0.0) -> np.ndarray:
    """Where a scanner saw no paper: ``sides`` of l, r, t, b; tilt in degrees."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    turn = np.tan(np.radians(tilt))
    down, across = rows + turn * columns, columns - turn * rows
    wide = dict(zip("lrtb", rng.integers(10, 50, 4), strict=True))
    black = np.zeros((HEIGHT, WIDTH), bool)
    for side, beyond in (
        ("l", across < wide["l"]),
        ("r", across > WIDTH - wide["r"]),
        ("t", down < wide["t"]),
        ("b", down > HEIGHT - wide["b"]),
    ):
        if side in sides:
            black |= beyond
    return black


def shadow(rng: np.random.Generator, loss: float, edge: float = 1.0) -> np.ndarray:
    """Relative light that falls from 1 to ``1 - loss`` in any direction.

    ``edge`` is the share of the page over which it falls; small for the shadow of a hand.
    """
    rows, columns = np.mgrid[-0.5 : 0.5 : HEIGHT * 1j, -0.5 : 0.5 : WIDTH * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * columns + np.sin(angle) * rows
    along /= np.abs(np.cos(angle)) + np.abs(np.sin(angle))  # now from -0.5 to 0.5
    return (1 - loss * np.clip(along / edge + 0.5, 0, 1)).astype(np.float32)
