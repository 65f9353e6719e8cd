"""The pages of the course, ``docs/course/NN-name.md``, as HTML for the page's Course tab.

Of HTML in a page only what folds an answer (``details``, ``summary``) or makes a caption small
(``sub``) is kept, comments are left out and all else is shown as text. Nothing in the result names
another machine: the images are this folder's, links lead to other pages of it, and any other
address is shown and leads nowhere.
"""

import re
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from html import escape
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from serving.colored_code import colored

_ROOT = Path(__file__).parents[1]
# Where a wheel has them, and where the repository has them.
_FOLDERS = (_ROOT / "course" / "docs", _ROOT / "docs" / "course")
# What lessons says of each step; a file that is read here, since serving imports no lessons.
_LESSONS = _ROOT / "course" / "lessons.yaml"
_PAGE = re.compile(r"(\d\d-[a-z0-9-]+)\.md(?:#[\w-]*)?")
_IMAGE = re.compile(r"images/([\w-]+\.png)")
_MESSAGE = re.compile(r"\w+(?:Error|Exception): ")
_KEPT = re.compile(r"(</?details>|</?summary>|</?sub>|<!--.*?-->)", re.S)


@dataclass(frozen=True)
class CoursePage:
    """One step: ``name`` as in the address, its title, and the page as HTML."""

    name: str
    title: str
    html: str

    @property
    def step(self) -> int:
        return int(self.name[:2])


def folder() -> Path | None:
    """Where the pages are, or None where they are not installed."""
    return next((path for path in _FOLDERS if path.is_dir()), None)


def pages(where: Path) -> dict[str, CoursePage]:
    """All pages by name, in the order of their steps; a file that has changed is read again."""
    paths = sorted(where.glob("[0-9][0-9]-*.md"))
    return {path.stem: _read(path, path.stat().st_mtime_ns) for path in paths}


def images(where: Path) -> dict[str, Path]:
    """The images that pages may show, by name."""
    return {path.name: path for path in (where / "images").glob("*.png")}


def minutes() -> dict[int, int]:
    """What to plan for each step with its exercise; the steps that install have no figure."""
    return {entry["step"]: entry["minutes"] for entry in _lessons()}


def outcomes() -> dict[int, str]:
    """What one can do after each step; those that install have none."""
    return {entry["step"]: entry["able_to"] for entry in _lessons()}


def in_parts(found: Sequence[CoursePage]) -> dict[str, list[CoursePage]]:
    """Pages by the part of the course that they belong to, in order.

    A part begins with the step that names it; the steps before the first one belong to it.
    """
    begins = {entry["step"]: entry["part"] for entry in _lessons() if "part" in entry}
    names = list(begins.values())
    parts: dict[str, list[CoursePage]] = {name: [] for name in names}
    for page in found:
        parts[names[max(bisect(list(begins), page.step) - 1, 0)]].append(page)
    return parts


@cache
def _lessons() -> list[dict[str, Any]]:
    return yaml.safe_load(_LESSONS.read_text(encoding="utf-8"))


@lru_cache(maxsize=64)
def _read(path: Path, changed: int) -> CoursePage:
    source = path.read_text(encoding="utf-8")
    title = source.partition("\n")[0].lstrip("# ")
    return CoursePage(path.stem, title, _markdown().render(source))


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}, renderer_cls=_Renderer).enable("table")


class _Renderer(RendererHTML):
    """markdown-it's HTML with the rules of this module; wide parts scroll by keyboard, too."""

    def html_block(self, tokens: Sequence[Token], idx: int, options, env) -> str:
        return "".join(map(_kept, _KEPT.split(tokens[idx].content)))

    html_inline = html_block

    def fence(self, tokens: Sequence[Token], idx: int, options, env) -> str:
        token = tokens[idx]
        language = escape(token.info.strip() or "text")
        # A message is a sentence, whose lines may break; other output keeps its columns.
        message = " message" if language == "text" and _MESSAGE.match(token.content) else ""
        kind = f'class="{language}{message}" tabindex="0" role="region" aria-label="{language}"'
        code = f"<pre {kind}><code>{colored(token.content, language)}</code></pre>"
        return f'<div class="code {language}">{code}</div>\n'

    def code_block(self, tokens: Sequence[Token], idx: int, options, env) -> str:
        return self.fence(tokens, idx, options, env)

    def table_open(self, tokens: Sequence[Token], idx: int, options, env) -> str:
        return '<div class="wide" tabindex="0" role="region" aria-label="table"><table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options, env) -> str:
        return "</table></div>\n"

    def heading_open(self, tokens: Sequence[Token], idx: int, options, env) -> str:
        words = re.sub(r"[^\w\s-]", "", tokens[idx + 1].content.lower()).split()
        # The prefix keeps them apart from the ids that the page's script asks for.
        return f'<{tokens[idx].tag} id="s-{"-".join(words)}">'

    def image(self, tokens: Sequence[Token], idx: int, options, env) -> str:
        token = tokens[idx]
        text = self.renderInlineAsText(token.children or [], options, env)
        if not (own := _IMAGE.fullmatch(str(token.attrGet("src")))):
            return escape(f"[{text}]")
        return f'<img src="images/{own[1]}" alt="{escape(text)}" loading="lazy">'

    def link_open(self, tokens: Sequence[Token], idx: int, options, env) -> str:
        address = str(tokens[idx].attrGet("href"))
        if page := _PAGE.fullmatch(address):
            return f'<a href="{page[1]}">'
        return f'<span class="elsewhere" title="{escape(address)}">'

    def link_close(self, tokens: Sequence[Token], idx: int, options, env) -> str:
        opened = next(t for t in reversed(tokens[:idx]) if t.type == "link_open")
        return "</a>" if _PAGE.fullmatch(str(opened.attrGet("href"))) else "</span>"


def _kept(piece: str) -> str:
    """A part of a page's own HTML: tags of ``_KEPT`` stay, a comment goes, the rest is text."""
    if piece.startswith("<!--"):
        return ""
    return piece if _KEPT.fullmatch(piece) else escape(piece, quote=False)
