"""A JSON Schema on its way to a grammar: what is refused, and what is made of the rest.

Whatever is changed here allows less than the schema does, never more, so that an answer is valid
by the schema as it was given.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Schema = dict[str, Any]
# Limits of one schema; its text counts by characters. An array or a string of which a schema allows
# more is not written longer than this.
MOST_VALUES, MOST_CHARACTERS, DEEPEST = 10_000, 120_000, 64
MOST_ITEMS, MOST_LENGTH = 1_000, 8_192
# What the library's own stack and tables hold with room to spare: levels of all that references
# lead to together, and choices at one place.
_MOST_LEVELS, _MOST_CHOICES, _MOST_PATTERNS, _MOST_COUNTED = 400, 500, 30, 50
# Beyond them a float no longer holds every whole number, and the grammar's bounds are floats.
_EXACT = 2**53
_MOST_MULTIPLE = 1_000
# Keywords whose values are schemas by name, in a list, or single.
_NAMED = ("properties", "patternProperties", "$defs", "definitions")
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_SINGLE = ("items", "additionalItems", "additionalProperties")
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_LONGEST = {"maxItems": MOST_ITEMS, "maxProperties": MOST_ITEMS, "maxLength": MOST_LENGTH}
_AT_LEAST = {"minItems": MOST_ITEMS, "minLength": MOST_LENGTH}
# Control characters that JSON has a short escape for.
ESCAPES = {'"': '"', "\\": "\\", "\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return is_number(value) and value >= 0 and value == int(value)


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


_SHAPES: dict[str, Callable[[Any], bool]] = {
    "type": lambda value: isinstance(value, str) or _are_words(value),
    "enum": lambda value: isinstance(value, list),
    "required": _are_words,
    "multipleOf": lambda value: is_number(value) and value > 0,
    "items": lambda value: isinstance(value, dict | list | bool),
    **{name: lambda value: isinstance(value, dict) for name in _NAMED},
    **{name: lambda value: isinstance(value, list) for name in _LISTED if name != "items"},
    **{
        name: lambda value: isinstance(value, str)
        for name in ("pattern", "format", "$ref", "$schema")
    },
    # The exclusive ones were booleans in draft 4.
    **{name: lambda value: isinstance(value, int | float) for name in BOUNDS},
    **dict.fromkeys((*_LONGEST, *_AT_LEAST, "minProperties"), _is_count),
}
# Keywords of JSON Schema that are not looked at here.
_OTHERS = (
    *("$id", "title", "description", "default", "examples", "const", "additionalItems"),
    *("additionalProperties", "not", "if", "contains", "uniqueItems", "dependentRequired"),
    *("dependencies", "dependentSchemas", "propertyNames", "unevaluatedProperties"),
    *("unevaluatedItems", "$dynamicRef", "$recursiveRef", "$anchor", "deprecated"),
)


def prepare(schema: Any) -> Schema:
    """The schema for the grammar, which allows what it can write of what ``schema`` allows.

    Raises:
        ValueError: not a schema, too large, or with a keyword or value that no answer could be
            promised to keep; names it.
    """
    if not isinstance(schema, dict):
        raise ValueError('a JSON Schema is an object, such as {"type": "object"}')
    _check_size(schema)
    found = dict(_subschemas(schema, "#"))
    for path, subschema in found.items():
        _check_shape(subschema, path)
    for path, subschema in found.items():
        if wrong := _unsupported(subschema, found) if isinstance(subschema, dict) else "":
            raise ValueError(f"the schema has {wrong} (at {path}), which is not supported")
    inner = [subschema for subschema in found.values() if isinstance(subschema, dict)]
    # The library multiplies those that meet in 32 bits.
    if math.lcm(*(int(one.get("multipleOf", 1)) for one in inner)) > _MOST_MULTIPLE**2:
        raise ValueError("the schema has multipleOf without a small common multiple")
    refs = {one["$ref"] for one in inner if "$ref" in one}
    if sum(_levels(found[ref]) for ref in refs) > _MOST_LEVELS:
        raise ValueError(f"what $ref leads to has more than {_MOST_LEVELS} levels together")
    # The library's own options: what they ask for is not for a request to say.
    own = {keyword: value for keyword, value in schema.items() if keyword != "x-guidance"}
    bounded = changed(own, lambda subschema, _: _bounded(subschema))
    branched = changed(bounded, lambda subschema, _: _with_branches(subschema, bounded))
    _check_size(branched)
    return branched


def closed(schema: Schema) -> Schema:
    """The schema without properties that it does not name, where it does not speak of them."""

    def change(subschema: Schema, _: str) -> Schema:
        named = "properties" in subschema and "additionalProperties" not in subschema
        return subschema | {"additionalProperties": False} if named else subschema

    return changed(schema, change)


def _check_size(schema: Schema) -> None:
    """Counts with an end, before anything is made of it."""
    values = characters = 0
    level: list[Any] = [schema]
    for _ in range(DEEPEST):
        values += len(level)
        following: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                characters += sum(len(key) for key in value)
                following += value.values()
            elif isinstance(value, list):
                following += value
            elif isinstance(value, str):
                characters += len(value)
        if values + len(following) > MOST_VALUES or characters > MOST_CHARACTERS:
            raise ValueError(
                f"the schema has more than {MOST_VALUES:,} values or {MOST_CHARACTERS:,} characters"
            )
        if not following:
            return
        level = following
    raise ValueError(f"the schema has more than {DEEPEST} levels")


def _subschemas(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    """All schemas in a schema, by their JSON pointer."""
    yield path, schema
    for rest, each in _children(schema):
        yield from _subschemas(each, f"{path}/{rest}")


def _children(schema: Any) -> Iterator[tuple[str, Any]]:
    """The schemas right in a schema, by the rest of their path."""
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        if keyword in _NAMED and isinstance(value, dict):
            yield from ((f"{keyword}/{name}", each) for name, each in value.items())
        elif keyword in _LISTED and isinstance(value, list):
            yield from ((f"{keyword}/{number}", each) for number, each in enumerate(value))
        elif keyword in _SINGLE:
            yield keyword, value


def _levels(schema: Any) -> int:
    return 1 + max((_levels(each) for _, each in _children(schema)), default=0)


def changed(schema: Any, change: Callable[[Schema, str], Schema], path: str = "#") -> Any:
    """The schema with ``change`` made to all schemas in it and their paths, innermost first."""
    if not isinstance(schema, dict):
        return schema
    new: Schema = {}
    for keyword, value in schema.items():
        inside = f"{path}/{keyword}"
        if keyword in _NAMED and isinstance(value, dict):
            value = {
                name: changed(each, change, f"{inside}/{name}") for name, each in value.items()
            }
        elif keyword in _LISTED and isinstance(value, list):
            value = [changed(each, change, f"{inside}/{n}") for n, each in enumerate(value)]
        elif keyword in _SINGLE:
            value = changed(value, change, inside)
        new[keyword] = value
    return change(new, path)


def _check_shape(schema: Any, path: str) -> None:
    """Values of the wrong type; what a type or a pattern may be the library says itself."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise ValueError(f"this is not a JSON Schema: {path} is neither an object nor a boolean")
    for keyword, value in schema.items():
        if (fits := _SHAPES.get(keyword)) and not fits(value):
            shown = str(value)[:40]
            raise ValueError(f"this is not a JSON Schema: {keyword} at {path} cannot be {shown!r}")
    if path == "#" and schema and not (set(schema) & {*_SHAPES, *_OTHERS}):
        raise ValueError(
            "this is not a JSON Schema: it has none of its keywords, such as type or properties"
        )


def _unsupported(schema: Schema, found: Mapping[str, Any]) -> str:
    """What the library would compile into something else than the schema says, in words."""
    for name in BOUNDS:
        if is_number(schema.get(name)) and not abs(schema[name]) <= _EXACT:
            return f"{name} beyond 2^53"
    for name, most in _AT_LEAST.items():
        if schema.get(name, 0) > most:
            return f"{name} above {most:,}"
    multiple = schema.get("multipleOf", 1)
    if multiple != int(multiple) or multiple > _MOST_MULTIPLE:
        return f"multipleOf {multiple}, not a whole number up to {_MOST_MULTIPLE:,}"
    if len(schema.get("patternProperties", ())) > _MOST_PATTERNS:
        return f"more than {_MOST_PATTERNS} patternProperties"
    for name in ("properties", "allOf", "anyOf", "oneOf", "prefixItems"):
        if len(schema.get(name, ())) > _MOST_CHOICES:
            return f"more than {_MOST_CHOICES} {name}"
    if len(schema.get("enum", ())) > _MOST_CHOICES and not all(
        isinstance(one, str | int | float | None) for one in schema["enum"]
    ):
        return f"more than {_MOST_CHOICES} lists or objects in enum"
    counted = [name for name in ("minProperties", "maxProperties") if name in schema]
    if counted and len(schema.get("properties", ())) > _MOST_COUNTED:
        return f"{counted[0]} of more than {_MOST_COUNTED} properties"
    # Names that a schema does not list may be written twice, and count once.
    if schema.get("minProperties", 0) > len(schema.get("required", ())) + 1:
        return "minProperties above the number of names that required has, and one"
    if schema.get("$ref", "#") not in found:
        return f"$ref {str(schema['$ref'])[:100]!r} that leads to no schema in it"
    for name in ("const", "enum"):
        if name in schema and (wrong := _unwritable(schema[name])):
            return f"{wrong} in {name}"
    return ""


def _unwritable(constant: Any) -> str:
    if isinstance(constant, dict):
        constant = [*constant, *constant.values()]
    if isinstance(constant, list):
        return next(filter(None, map(_unwritable, constant)), "")
    if is_number(constant) and not abs(constant) <= _EXACT:
        return "a number beyond 2^53"
    if isinstance(constant, str):
        plain = all(one in ESCAPES or (one >= " " and one != "\x7f") for one in constant)
        return "" if plain else "a control character"
    return ""


def _bounded(schema: Schema) -> Schema:
    """An answer ends before it has more of anything, and a grammar has a rule for each."""
    limits = {
        name: min(schema[name], most)
        for name, most in _LONGEST.items()
        if is_number(schema.get(name))
    }
    return schema | limits


def _with_branches(schema: Schema, root: Schema) -> Schema:
    """References in oneOf become what they lead to, so that the library can tell them apart.

    A discriminator (of OpenAPI, and of Pydantic) is a property that each of them needs.
    """
    if not isinstance(schema.get("oneOf"), list):
        return schema
    discriminator = schema.get("discriminator")
    name = discriminator.get("propertyName") if isinstance(discriminator, dict) else None
    branches = []
    for branch in schema["oneOf"]:
        if isinstance(branch, dict) and set(branch) == {"$ref"}:
            branch = _copied(root, branch["$ref"])
        if isinstance(branch, dict) and name in list(branch.get("properties", ())):
            required = branch.get("required", [])
            branch = branch | {"required": [*required, *({name} - set(required))]}
        branches.append(branch)
    return schema | {"oneOf": branches}


def _copied(root: Schema, ref: str) -> Any:
    """What a reference leads to; properties without a constant stay where they are."""
    target = resolved(root, ref)
    if not isinstance(target, dict) or "properties" not in target:
        return target
    properties = {
        name: each
        if isinstance(each, bool) or {"const", "enum"} & set(each) or set("/~%") & set(name)
        else {"$ref": f"{ref}/properties/{name}"}
        for name, each in target["properties"].items()
    }
    return target | {"properties": properties}


def resolved(root: Schema, ref: str) -> Any:
    value: Any = root
    for step in filter(None, ref.removeprefix("#").split("/")):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value
