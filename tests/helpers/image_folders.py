"""Folders of made images: bright shapes on dark ground, one kind of shape per class."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

# Blanks, umlauts, and a name that is longer than a column.
CLASSES = ("Grüne Äpfel", "blaue Kreise", "rotes Quadrat", "über Kreuz")


def shape(kind: int, side: int, generator: np.random.Generator, gray: bool = False) -> Image.Image:
    """One of four shapes at a random position and of a random size, with noise."""
    pixels = generator.integers(0, 70, (side, side, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    half = generator.uniform(0.2, 0.32) * side
    x, y = generator.uniform(half, side - half, 2)
    box = (x - half, y - half, x + half, y + half)
    color = tuple(int(v) for v in generator.integers(150, 255, 3))
    if kind == 0:
        draw.polygon([(x, y - half), (x + half, y + half), (x - half, y + half)], fill=color)
    elif kind == 1:
        draw.ellipse(box, fill=color)
    elif kind == 2:
        draw.rectangle(box, outline=color, width=max(2, side // 10))
    else:
        width = max(2, side // 10)
        draw.line(box, fill=color, width=width)
        draw.line((x - half, y + half, x + half, y - half), fill=color, width=width)
    return image.convert("L") if gray else image


def make_folder(
    root: Path,
    side: int = 32,
    count: int = 400,
    gray: bool = False,
    classes: tuple[str, ...] = CLASSES,
    suffix: str = ".png",
    seed: int = 0,
) -> Path:
    """``root/CLASS/NUMBER.png``, as many of each class."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        kind = number % len(classes)
        path = root / classes[kind] / f"{number:05}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape(kind, side, generator, gray).save(path)
    return root


def spoil(root: Path) -> list[Path]:
    """Breaks three files of a folder and copies two others; returns the broken ones."""
    files = sorted(root.rglob("*.png"))
    files[3].write_bytes(files[3].read_bytes()[:200])
    files[60].write_bytes(b"no image at all")
    files[130].write_bytes(b"")
    for number in (10, 201):
        copy = files[number].with_name(f"copy-{files[number].name}")
        shutil.copyfile(files[number], copy)
    return [files[number] for number in (3, 60, 130)]
