"""Code of the pages: the same text, in colors that can be read."""

import html
import re

import pytest

from serving.colored_code import KINDS, colored
from serving.page import FOLDER

CODE = '@wraps(f)\ndef go(n: int) -> str:\n    # a < b & c\n    return f"{n} \\"x\\"" * 0x1F\n\n\n'
STYLE = (FOLDER / "style.css").read_text()


def test_parts_are_marked() -> None:
    marked = colored(CODE, "python")
    for kind, text in (
        ("keyword", "def"),
        ("defined", "go"),
        ("comment", "# a &lt; b &amp; c"),
        ("keyword", "return"),
        ("number", "0x1F"),
    ):
        assert f'<span class="{kind}">{text}</span>' in marked
    assert '<span class="string">' in marked
    assert set(re.findall(r"<[^>]*>", marked)) <= {
        "</span>",
        *(f'<span class="{kind}">' for _, kind in KINDS),
    }


@pytest.mark.parametrize("language", ["python", "bash", "yaml", "text", "no-such-language", ""])
@pytest.mark.parametrize("code", [CODE, "", "\n\n", "a\n", "  indented", "</code></pre><b>\n"])
def test_the_text_is_the_same(language: str, code: str) -> None:
    marked = colored(code, language)
    assert html.unescape(re.sub(r"<[^>]*>", "", marked)) == code
    assert "<b>" not in marked


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["accent", "string", "number", "defined", "soft"])
def test_colors_contrast_with_their_ground(dark: bool, name: str) -> None:
    light, _, rest = STYLE.partition("@media (prefers-color-scheme: dark)")
    colors = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", rest if dark else light))
    lighter, darker = sorted((_luminance(colors[name]), _luminance(colors["track"])), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5  # WCAG 2, level AA


def test_every_kind_has_a_color() -> None:
    for _, kind in KINDS:
        assert f"pre .{kind} {{ color: " in STYLE


def _luminance(color: str) -> float:
    """WCAG's relative luminance."""
    red, green, blue = (_linear(int(color[i : i + 2], 16) / 255) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
