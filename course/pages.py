"""The pages of the course, ``docs/course/NN-name.md``: one for each step.

An HTML comment before a block says what the block is: ``from`` a file of the project, ``shown``
and not run, or code that ``raises``. ``python -m course.pages`` (``make docs``) writes the code
that the pages quote from the source again, and a caption that readers see for the first two; it
prints the pages that it changed.
"""

import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from course.quotes import caption_of, source_of

ROOT = Path(__file__).parents[1]
INSTALLED = Path(__file__).with_name("docs")  # where a wheel has them
FOLDER = INSTALLED if INSTALLED.is_dir() else ROOT / "docs" / "course"
MARKDOWN = MarkdownIt("commonmark").enable("table")
CAPTION = "<sub>"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
        language: what stands after the fence: ``python``, ``bash``, ``text``, ``yaml``.
        text: the code.
        line: index of the first line of the code in the page.
        lines: indices of its lines with comment, caption, fences and output, and the one after
            them.
        comment: text of the HTML comment before the fence, or nothing.
        caption: what the page says between comment and fence, or nothing.
        output: text of the ``text`` block that follows a ``python`` block, or None.
    """

    language: str
    text: str
    line: int
    lines: tuple[int, int]
    comment: str = ""
    caption: str = ""
    output: str | None = None

    def _after(self, word: str) -> str:
        return self.comment.removeprefix(word) if self.comment.startswith(word) else ""

    @property
    def quote(self) -> str:
        """What the block quotes: ``path: name`` or ``path``; nothing for code of the page's own."""
        return self._after("from ")

    @property
    def shown_because(self) -> str:
        """Why the code is shown and not run; nothing where it is run."""
        return self._after("shown: ")

    @property
    def code(self) -> str:
        """What a reader runs: the block, or of a quotation the import in its caption."""
        if not self.quote:
            return self.text
        return "\n".join(re.findall(r"`(from [^`]+ import [^`]+)`", self.caption))

    @property
    def raises(self) -> bool:
        """The code ends in an exception, whose type and message are its output."""
        return self.comment == "raises"


@dataclass(frozen=True)
class Page:
    """One page, parsed when a property is asked for."""

    path: Path
    source: str

    @cached_property
    def tokens(self) -> list[Token]:
        return MARKDOWN.parse(self.source)

    @property
    def step(self) -> int:
        return int(self.path.name[:2])

    @property
    def name(self) -> str:
        """The step's name, as in ``lessons.yaml``."""
        return self.path.stem[3:]

    @cached_property
    def headings(self) -> list[tuple[int, str, tuple[int, int]]]:
        """Level, text and lines (from, to) of all headings."""
        return [
            (int(token.tag[1:]), self.tokens[i + 1].content, (token.map[0], token.map[1]))
            for i, token in enumerate(self.tokens)
            if token.type == "heading_open" and token.map
        ]

    @property
    def title(self) -> str:
        """Of ``# Step N: title``, what follows the number."""
        return self.headings[0][1].partition(": ")[2]

    @property
    def idea(self) -> str:
        """Markdown of the first paragraph."""
        start = next(token for token in self.tokens if token.type == "paragraph_open")
        return self._lines(*(start.map or (0, 0)))

    @cached_property
    def sections(self) -> dict[str, str]:
        """Markdown below each ``##`` heading."""
        parts = [(text, lines) for level, text, lines in self.headings if level == 2]
        ends = [lines[0] for _, lines in parts[1:]] + [len(self.source.splitlines())]
        return {
            text: self._lines(lines[1], end) for (text, lines), end in zip(parts, ends, strict=True)
        }

    @property
    def reading(self) -> str:
        """Markdown of "How to read the picture", or of "How to read the output"."""
        wanted = ("How to read the picture", "How to read the output")
        return next((self.sections[name] for name in wanted if name in self.sections), "")

    @cached_property
    def blocks(self) -> list[Block]:
        """All fenced blocks in order; the output of a ``python`` block is part of it."""
        blocks: list[Block] = []
        parts = [
            (part, part.map[0], part.map[1]) for part in self.tokens if part.level == 0 and part.map
        ]
        for i, (part, start, end) in enumerate(parts):
            before, after = parts[:i], parts[i + 1 : i + 2]
            answers = part.info == "text" and before and before[-1][0].info == "python"
            if part.type != "fence" or answers:
                continue
            line, comment, caption, output = start + 1, "", "", None
            if before and (text := self._lines(before[-1][1], before[-1][2])).startswith(CAPTION):
                caption = text
                before.pop()
            if before and before[-1][0].content.startswith("<!--"):
                content, start = before[-1][0].content.strip(), before[-1][1]
                comment = content.removeprefix("<!--").removesuffix("-->").strip()
            if part.info == "python" and after and after[0][0].info == "text":
                output, end = after[0][0].content, after[0][2]
            lines = (start, end)
            blocks.append(Block(part.info, part.content, line, lines, comment, caption, output))
        return blocks

    @property
    def commands(self) -> list[str]:
        """Lines of the ``bash`` blocks; a line that ends in a backslash has the next one, too."""
        code = "".join(block.text for block in self.blocks if block.language == "bash")
        return [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]

    def _inline(self, kind: str, attribute: str) -> list[str]:
        children = [child for token in self.tokens for child in token.children or ()]
        return [str(child.attrGet(attribute)) for child in children if child.type == kind]

    @property
    def images(self) -> list[str]:
        """Addresses of the images, relative to the page."""
        return self._inline("image", "src")

    @property
    def links(self) -> list[str]:
        return self._inline("link_open", "href")

    @property
    def questions(self) -> list[str]:
        """What the folded answers of "Three questions" answer."""
        html = "".join(token.content for token in self.tokens if token.type == "html_block")
        return [part.partition("</summary>")[0] for part in html.split("<summary>")[1:]]

    @property
    def words(self) -> int:
        """Words of headings, paragraphs, tables and questions, without code and its captions."""
        texts = [token.content for token in self.tokens if token.type == "inline"]
        texts = [text for text in texts if not text.startswith(CAPTION)]
        return sum(len(text.split()) for text in texts + self.questions)

    def with_quotes(self) -> str:
        """The page's source with every quotation and caption as they are now.

        Raises:
            ValueError: a quoted file or name does not exist.
        """
        lines = self.source.splitlines(keepends=True)
        for block in reversed(self.blocks):
            code, caption = block.text, ""
            if block.quote:
                code, caption = source_of(block.quote, ROOT), caption_of(block.quote)
            elif block.shown_because:
                caption = f"{CAPTION}Not run here: {block.shown_because}</sub>\n"
            if caption:
                end = block.line + block.text.count("\n")
                lines[block.lines[0] + 1 : end] = [caption, lines[block.line - 1], code]
        return "".join(lines)

    def _lines(self, start: int, end: int) -> str:
        return "\n".join(self.source.splitlines()[start:end]).strip()


def read(folder: Path = FOLDER) -> list[Page]:
    """All pages in the order of their steps."""
    return [Page(path, path.read_text()) for path in sorted(folder.glob("[0-9][0-9]-*.md"))]


def find(step: int, folder: Path = FOLDER) -> Page | None:
    """The page of a step, or None where there is none."""
    return next((page for page in read(folder) if page.step == step), None)


def shown(path: Path) -> Path:
    """The path from the current folder, if it lies there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main() -> int:
    for page in read():
        source = page.with_quotes()
        if source != page.source:
            page.path.write_text(source)
            print(page.path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
