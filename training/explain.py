"""Every final value of a configuration, and where it comes from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from training.cli import BASE_CONFIG
from training.origins import Given, Source, find, given_by
from training.parsed_cli import ParsedCLI

BASE_NAME = "configs/trainer.yaml"


@dataclass(frozen=True)
class Value:
    """One value of a run.

    Args:
        key: dotted name, with the position within a list: ``trainer.callbacks.0.class_path``.
        value: as the run gets it.
        owner: the class or method whose argument it is.
        source: who set it; None for the default of the owner's signature.
        replaced: values that it was before, from the latest to the first, and who set them.
    """

    key: str
    value: Any
    owner: str
    source: Source | None
    replaced: tuple[tuple[Any, Source], ...] = ()

    @property
    def origin(self) -> str:
        """``configs/digits_cnn.yaml:6``, ``command line`` or ``default of MNISTCNN``."""
        return f"default of {self.owner}" if self.source is None else str(self.source)

    def as_json(self) -> dict[str, Any]:
        source = self.source
        return {
            "key": self.key,
            "value": self.value,
            "from": "default" if source is None else source.where,
            "line": None if source is None else source.line,
            "of": self.owner,
            "instead_of": [
                {"value": value, "from": before.where, "line": before.line}
                for value, before in self.replaced
            ],
        }


def explain_config(argv: Sequence[str]) -> list[Value]:
    """Every value of the fit that ``gpu-learning fit`` would run with these options.

    Raises:
        ValueError: settings that a fit refuses.
        SystemExit: options that the parser refuses; it has printed why.
    """
    final = ParsedCLI(argv).plain()
    final.pop("config", None)
    given = given_by(BASE_CONFIG, BASE_NAME, argv)
    return [
        Value(".".join(map(str, path)), value, owner, source, replaced)
        for path, value, owner in _leaves(final, (), "fit")
        for source, replaced in [_source(find(given, path))]
    ]


def _source(given: Given | None) -> tuple[Source | None, tuple[tuple[Any, Source], ...]]:
    if given is None:
        return None, ()
    replaced, before = [], given.replaced
    while before is not None:
        if not isinstance(before.content, dict | list):
            replaced.append((before.content, before.source))
        before = before.replaced
    return given.source, tuple(replaced)


def _leaves(
    tree: Any, path: tuple[str | int, ...], owner: str
) -> Iterator[tuple[tuple[str | int, ...], Any, str]]:
    """Path, value and owner of each value; a list of plain values is one value."""
    if isinstance(tree, dict) and tree:
        below = tree.get("class_path", "Trainer" if path == ("trainer",) else owner)
        for key, value in tree.items():
            yield from _leaves(value, (*path, key), below if key != "class_path" else owner)
    elif isinstance(tree, list) and any(isinstance(one, dict) for one in tree):
        for position, value in enumerate(tree):
            yield from _leaves(value, (*path, position), owner)
    else:
        yield path, tree, owner
