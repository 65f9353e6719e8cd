"""Arguments of classes that are null and may not be: jsonargparse lets each of them be."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jsonargparse import Namespace
from jsonargparse.util import import_object

from training.origins import located


def check_nulls(config: Any, typed: Sequence[str] = ()) -> None:
    """Refuses null for an argument whose annotation has no None.

    Args:
        config: of a subcommand, parsed.
        typed: the options of the command line, which say how the argument is called there.

    Raises:
        ValueError: ``--model.lr: expected float, got null``.
    """
    for path, name, expected in _refused(config, ""):
        given, where = located(typed, name, "None")
        option = given or f"--{path}.{name}"
        said = f"{option}: expected {expected}, got null; leave it out for its default"
        raise ValueError(said + where)


def _refused(tree: Any, above: str) -> Iterator[tuple[str, str, str]]:
    """Where an argument is, its name, and the type that it must have."""
    if isinstance(tree, list):
        for value in tree:
            yield from _refused(value, above)
        return
    if not isinstance(tree, Namespace | Mapping):
        return
    values = vars(tree) if isinstance(tree, Namespace) else tree
    arguments = values.get("init_args")
    nulls = [name for name, value in dict(arguments or {}).items() if value is None]
    if nulls and isinstance(path := values.get("class_path"), str):
        kinds = _kinds(import_object(path))
        yield from ((f"{above}.init_args", name, kinds[name]) for name in nulls if name in kinds)
    for key, value in values.items():
        yield from _refused(value, f"{above}.{key}".lstrip("."))


def _kinds(kind: Any) -> dict[str, str]:
    """Types of the arguments that have one without None, also of those that ``**kwargs`` takes."""
    found: dict[str, Any] = {}
    for owner in inspect.getmro(kind) if isinstance(kind, type) else ():
        if "__init__" not in vars(owner):
            continue
        parameters = inspect.signature(owner.__init__).parameters
        try:
            hints = get_type_hints(owner.__init__)
        except (NameError, TypeError, AttributeError):  # names that only a type checker imports
            hints = {}
        for name, parameter in parameters.items():
            optional = parameter.default is None or name not in hints
            found.setdefault(name, None if optional else hints[name])
        if all(one.kind != one.VAR_KEYWORD for one in parameters.values()):
            break
    return {name: _said(hint) for name, hint in found.items() if _refuses_none(hint)}


def _refuses_none(hint: Any) -> bool:
    if isinstance(hint, type) and not get_args(hint):
        return hint not in (type(None), object, Any)
    return bool(get_args(hint)) and type(None) not in get_args(hint)


def _said(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_said, get_args(hint)))
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
