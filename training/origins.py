"""Where each value of a configuration was set: a file and its line, or the command line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Source:
    """Who set a value: ``order`` grows with what comes later, which wins."""

    where: str
    line: int | None
    order: int

    def __str__(self) -> str:
        return self.where if self.line is None else f"{self.where}:{self.line}"


@dataclass
class Given:
    """A value as it was written, and the one that it replaced.

    ``content`` is a dict or a list of others, or a plain value.
    """

    source: Source
    content: Any
    replaced: "Given | None" = field(default=None, repr=False)


def given_by(base: Path, name: str, argv: Sequence[str]) -> Given:
    """All that the base and a command line set, merged as jsonargparse merges it.

    Args:
        base: the file underneath.
        name: what to call it.
        argv: options of a fit.
    """
    root = _read(base.read_text(), name, 0)
    for new in _in_order(argv):
        root = _merge(root, new)
    return root


def located(argv: Sequence[str], key: str, value: str | None = None) -> tuple[str, str]:
    """What an argument is called where it was given last, and the file that sets it.

    Args:
        argv: options of a command.
        key: the end of its dotted name.
        value: as text, of a list or a mapping as Python shows it; None for any.

    Returns:
        ``("--model.lr", "")`` for an option, ``("model.init_args.lr", " (my.yaml:4)")`` for a line
        of a file, and two empty texts where nothing sets it.
    """
    name, where = "", ""
    for new in _in_order(argv):
        for path, given in _nodes(new):
            named = f".{path}".endswith(f".{key}")
            if named and (value is None or str(_plain(given)) == value):
                typed = given.source.where == COMMAND_LINE
                name, where = (f"--{path}", "") if typed else (path, f" ({given.source})")
    return name, where


def _nodes(given: Given, above: str = "") -> Iterator[tuple[str, Given]]:
    """Values with their dotted names; items of a list have the list's."""
    yield above, given
    if isinstance(given.content, dict):
        for key, value in given.content.items():
            yield from _nodes(value, f"{above}.{key.rstrip('+')}".lstrip("."))
    if isinstance(given.content, list):
        for value in given.content:
            yield from _nodes(value, above)


def _plain(given: Given) -> Any:
    """The value as it was written, without where."""
    if isinstance(given.content, dict):
        return {key: _plain(value) for key, value in given.content.items()}
    if isinstance(given.content, list):
        return [_plain(value) for value in given.content]
    return given.content


def _in_order(argv: Sequence[str]) -> Iterator[Given]:
    """What each option and each file sets."""
    position = 0
    while position < len(argv):
        option, equals, value = argv[position].partition("=")
        if not equals:
            position += 1
            value = argv[position] if position < len(argv) else ""
        position += 1
        if option in ("-c", "--config"):
            is_file = Path(value).is_file()
            text = Path(value).read_text() if is_file else value
            yield _read(text, value if is_file else COMMAND_LINE, position, lines=is_file)
        else:
            yield _option(option.removeprefix("--"), value, position)


def find(node: Given | None, path: Sequence[str | int]) -> Given | None:
    """What set the value at ``path``, or None where the signature's default stands."""
    if node is None or not path:
        return node
    key, *rest = path
    content = node.content
    if key == "class_path" and isinstance(content, str):
        return node  # a class alone, without arguments
    if isinstance(content, list) and isinstance(key, int):
        return find(content[key], rest) if key < len(content) else None
    if not isinstance(content, dict):
        return None
    found = find(content.get(key), rest)
    if key in ("init_args", "dict_kwargs") and rest:  # a file may leave these words out
        short = find(node, rest)
        known = [one for one in (found, short) if one is not None]
        return max(known, key=lambda one: one.source.order) if known else None
    return found


def _read(text: str, where: str, order: int, lines: bool = True) -> Given:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Given(Source(where, None, order), {})
        return _given(loader, node, where, order, lines)
    finally:
        loader.dispose()


def _given(loader: Any, node: yaml.Node, where: str, order: int, lines: bool) -> Given:
    source = Source(where, node.start_mark.line + 1 if lines else None, order)
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)  # what << merges
        return Given(
            source,
            {
                str(key.value): _given(loader, value, where, order, lines)
                for key, value in node.value
            },
        )
    if isinstance(node, yaml.SequenceNode):
        return Given(source, [_given(loader, one, where, order, lines) for one in node.value])
    return Given(source, loader.construct_object(node))


def _option(name: str, value: str, order: int) -> Given:
    """``--trainer.callbacks.step_size=2`` as nested mappings."""
    source = Source(COMMAND_LINE, None, order)
    try:
        given = _read(value, COMMAND_LINE, order, lines=False) if value else Given(source, value)
    except yaml.YAMLError:  # a plain string, such as a path with a colon
        given = Given(source, value)
    for key in reversed(name.split(".")):
        given = Given(given.source, {key: given})
    return given


def _merge(old: Given | None, new: Given) -> Given:
    """``old`` with what ``new`` sets."""
    if old is None:
        if isinstance(new.content, dict):
            return _merge(Given(new.source, {}), new)
        return new
    if isinstance(old.content, list) and isinstance(new.content, dict):
        # An option below a list is about its last item: --trainer.callbacks.step_size.
        if not old.content:
            return Given(new.source, [new], old)
        return Given(old.source, [*old.content[:-1], _merge(old.content[-1], new)], old.replaced)
    if isinstance(old.content, dict) and isinstance(new.content, str) and _names_class(old):
        new = Given(new.source, {"class_path": new})  # --model MNISTMLP
    if not isinstance(new.content, dict):
        return Given(new.source, new.content, old)
    content: dict[str, Given] = {}
    if isinstance(old.content, dict):
        content = dict(old.content)
    elif isinstance(old.content, str):
        content = {"class_path": old}
    for key, value in new.content.items():
        if key.endswith("+"):
            content[key[:-1]] = _append(content.get(key[:-1]), value)
        else:
            content[key] = _merge(content.get(key), value)
    return Given(old.source, content, old.replaced)


def _append(old: Given | None, new: Given) -> Given:
    before = [] if old is None or old.content is None else old.content
    before = before if isinstance(before, list) else [old]
    added = new.content if isinstance(new.content, list) else [new]
    return Given(new.source, [*before, *added])


def _names_class(given: Given) -> bool:
    return bool({"class_path", "init_args"} & set(given.content))
