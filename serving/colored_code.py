"""Code of the course's pages as HTML, its parts marked by what they are; colors are in the CSS."""

from functools import cache
from html import escape

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Literal, Name, Operator, String
from pygments.util import ClassNotFound

# The first that fits; what none fits is shown in the color of the text.
KINDS = (
    (Comment, "comment"),
    (Keyword, "keyword"),
    (Operator.Word, "keyword"),
    (String.Affix, "keyword"),
    (String, "string"),
    (Literal, "number"),
    (Name.Function, "defined"),
    (Name.Class, "defined"),
    (Name.Decorator, "defined"),
)


def colored(code: str, language: str) -> str:
    """``code`` as HTML of the same text; a language that is not known comes without marks."""
    if (lexer := _lexer(language)) is None:
        return escape(code)
    pieces = []
    for kind, text in lexer.get_tokens(code):
        name = next((name for token, name in KINDS if kind in token), None)
        pieces.append(f'<span class="{name}">{escape(text)}</span>' if name else escape(text))
    return "".join(pieces)


@cache
def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
