"""The diagrams of the pages show the nets as they are."""

import pytest
from matplotlib.text import Text

from course import pages
from course.diagrams import DIAGRAMS
from course.pages import FOLDER

SHOWN = {
    "06-first-network": ["input: 3", "24 weights\n8 biases", "8 weights\n1 bias"],
    "12-mnist-cnn-layers": ["(16, 7, 7)", "flatten,\nfc1, ReLU\n50,240 parameters"],
    "20-attention-flow": ["query @ key.T / √8"],
    "21-transformer-block-parts": ["192 parameters", "552 parameters"],
    "22-mini-gpt-parts": ["11,552\nparameters", "logits\n(1, 7, 15)"],
}


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_diagram_is_drawn_and_on_its_page(name: str) -> None:
    texts = [text.get_text() for text in DIAGRAMS[name]().findobj(Text)]  # type: ignore[attr-defined]
    assert set(SHOWN[name]) <= set(texts)
    page = pages.find(int(name[:2]))
    assert page
    assert f"images/{name}.png" in page.images
    assert (FOLDER / "images" / f"{name}.png").is_file()
