"""Code that a page quotes from the source, by name."""

import ast
import textwrap
from pathlib import Path

import yaml


def source_of(quote: str, root: Path) -> str:
    """The lines that ``quote`` names.

    Args:
        quote: ``path`` for a whole file; ``path.py: name`` for a function, class, method
            (``Class.method``) or assignment; ``path.yaml: key`` for one key (``model.init_args``).
        root: folder that paths begin at.

    Raises:
        ValueError: there is no such file or name.
    """
    path, _, name = quote.partition(": ")
    try:
        text = (root / path).read_text()
    except OSError as error:
        raise ValueError(f"a page quotes {path}, which cannot be read: {error.strerror}") from None
    if not name:
        return text
    lines = _yaml_lines(text, name) if path.endswith(".yaml") else _python_lines(text, name)
    if lines is None:
        raise ValueError(f"a page quotes {name!r} of {path}, which has no such name")
    start, end = lines
    return textwrap.dedent("".join(text.splitlines(keepends=True)[start:end]))


def _python_lines(text: str, name: str) -> tuple[int, int] | None:
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        found = [child for child in getattr(node, "body", []) if part in _names_of(child)]
        if not found:
            return None
        node = found[0]
    assert isinstance(node, ast.stmt)
    decorators = getattr(node, "decorator_list", [])
    return min(part.lineno for part in [node, *decorators]) - 1, node.end_lineno or node.lineno


def _names_of(node: ast.AST) -> set[str]:
    """Names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {target.id for target in targets if isinstance(target, ast.Name)}
    return set()


def _yaml_lines(text: str, name: str) -> tuple[int, int] | None:
    node = yaml.compose(text)
    key = node
    for part in name.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [(key, value) for key, value in pairs if key.value == part]
        if not found:
            return None
        key, node = found[0]
    lines = text.splitlines()
    end = node.end_mark.line + (1 if node.end_mark.column else 0)
    # A block ends where the next key begins; comments and empty lines before it are not its own.
    while end > key.start_mark.line + 1 and not lines[end - 1].split("#")[0].strip():
        end -= 1
    return key.start_mark.line, end


def caption_of(quote: str) -> str:
    """The line above a quotation: where it is from, and how to use it without typing it."""
    use = f". To use it here:\n`{line}`" if (line := import_of(quote)) else ""
    return f"<sub>From `{quote.partition(': ')[0]}`{use}</sub>\n"


def import_of(quote: str) -> str:
    """Imports what ``quote`` shows, of a method its class; nothing for a file or a YAML key."""
    path, _, name = quote.partition(": ")
    if not name or not path.endswith(".py"):
        return ""
    module = path.removesuffix(".py").replace("/", ".")
    return f"from {module} import {name.partition('.')[0]}"
