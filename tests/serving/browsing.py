"""A page as a person uses it: in a real Chromium, with mouse and keyboard."""

import os
import shutil

# CHROMIUM names another; Debian and Ubuntu have one of the first two, GitHub's runners the third.
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# Nothing that the browser asks of its own accord, so that what is counted is the page's.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SEVEN = [(0.3, 0.25), (0.72, 0.25), (0.62, 0.45), (0.52, 0.65), (0.46, 0.82)]
WAIT = 20_000  # ms; a slow machine is no failure


def draw(page, points: list[tuple[float, float]]) -> None:
    """One stroke with the mouse; points are shares of the drawing area's sides."""
    box = page.locator("#pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()


def says(page, selector: str, text: str) -> None:
    page.locator(selector).filter(has_text=text).wait_for()
