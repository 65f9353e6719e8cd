"""What a page quotes: found by name, written again when it changed, and captioned."""

from pathlib import Path

import pytest

from course.pages import Page
from course.quotes import caption_of, source_of

PYTHON = '''\
import math
import os

from torch import nn

SIZE = 3


def other():
    return 1


@staticmethod
def area(radius: float) -> float:
    """A circle's."""
    return math.pi * radius**2 * other() * SIZE


class Net(nn.Module):
    def forward(self, x):
        # as it comes
        return x
'''

YAML = """\
# what it trains
model:
  class_path: a.B
  init_args: {lr: 0.1}

# and on what
data:
  init_args:
    size: 3
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text(PYTHON)
    (tmp_path / "a.yaml").write_text(YAML)
    return tmp_path


@pytest.mark.parametrize(
    ("quote", "first", "last"),
    [
        ("code/a.py: area", "@staticmethod", "    return math.pi * radius**2 * other() * SIZE"),
        ("code/a.py: Net.forward", "def forward(self, x):", "    return x"),
        ("code/a.py: SIZE", "SIZE = 3", "SIZE = 3"),
        ("a.yaml: model", "model:", "  init_args: {lr: 0.1}"),
        ("a.yaml: data.init_args", "init_args:", "  size: 3"),
        ("a.yaml", "# what it trains", "    size: 3"),
    ],
)
def test_quotation(tree: Path, quote: str, first: str, last: str) -> None:
    lines = source_of(quote, tree).splitlines()
    assert (lines[0], lines[-1]) == (first, last)


@pytest.mark.parametrize(
    "quote", ["b.py", "code/a.py: gone", "code/a.py: Net.gone", "a.yaml: model.gone", "a.yaml: x"]
)
def test_what_is_not_there(tree: Path, quote: str) -> None:
    with pytest.raises(ValueError, match="a page quotes"):
        source_of(quote, tree)


@pytest.mark.parametrize(
    ("quote", "caption"),
    [
        ("code/a.py: area", "code/a.py`. To use it here:\n`from code.a import area`"),
        ("code/a.py: Net.forward", "code/a.py`. To use it here:\n`from code.a import Net`"),
        ("code/a.py", "code/a.py`"),
        ("a.yaml: model", "a.yaml`"),
    ],
)
def test_a_caption_says_how_to_use_what_is_quoted(quote: str, caption: str) -> None:
    assert caption_of(quote) == f"<sub>From `{caption}</sub>\n"


def test_a_page_is_written_again() -> None:
    page = Page(
        Path("01-x.md"),
        "# Step 1: X\n\n<!-- from course/tensors.py: SIZES -->\n"
        "```python\nold\nlines\n```\n\nEnd.\n",
    )
    source = page.with_quotes()
    assert source == (
        "# Step 1: X\n\n<!-- from course/tensors.py: SIZES -->\n"
        "<sub>From `course/tensors.py`. To use it here:\n`from course.tensors import SIZES`</sub>\n"
        "```python\nSIZES = (64, 128, 256, 512, 1024)\n```\n\nEnd.\n"
    )
    again = Page(page.path, source)
    assert again.with_quotes() == source
    (block,) = again.blocks
    assert block.code == "from course.tensors import SIZES"
    assert block.lines == (2, 8)
    other = source.replace("course.tensors", "elsewhere").replace("From", "Of")
    assert Page(page.path, other).with_quotes() == source


def test_code_that_is_not_run_has_a_caption() -> None:
    written = "# Step 1: X\n\n<!-- shown: needs a GPU -->\n{}```python\na()\n```\n"
    captioned = written.format("<sub>Not run here: needs a GPU</sub>\n")
    assert Page(Path("01-x.md"), written.format("")).with_quotes() == captioned
    assert Page(Path("01-x.md"), captioned).with_quotes() == captioned


def test_blocks_of_a_page() -> None:
    source = """\
# Step 1: X

Idea.

<!-- raises -->
```python
1 / 0
```

```text
ZeroDivisionError: division by zero
```

```bash
make a \\
  b
make c
```
```text
shown, not compared
```
"""
    page = Page(Path("01-x.md"), source)
    python, bash, text = page.blocks
    assert python.raises
    assert python.output == "ZeroDivisionError: division by zero\n"
    lines = source.splitlines()[slice(*python.lines)]
    assert (lines[0], lines[-1]) == ("<!-- raises -->", "```")
    assert page.commands == ["make a    b", "make c"]
    assert (bash.output, text.language) == (None, "text")
