"""Which characters a vocabulary needs for the answers that a JSON Schema allows."""

import json
from collections.abc import Collection
from decimal import Decimal
from typing import Any

from inference.text.json_schema import BOUNDS, ESCAPES, Schema, changed, is_number, resolved

_OF_TYPE = {
    "null": "null",
    "boolean": "truefalse",
    "number": "0123456789",
    "integer": "0123456789",
    "string": '"',
    "array": "[],",
    "object": '{}":,',
}
_ANY = set().union(*_OF_TYPE.values())


def written_with(schema: Schema, characters: Collection[str]) -> Schema:
    """The schema with strings of a pattern or a format, which may need only these characters."""
    alphabet = [one for one in characters if one >= " " and one not in '"\\\x7f']
    alphabet += [one for one, letter in ESCAPES.items() if {"\\", letter} <= set(characters)]
    pattern = "^[" + "".join(f"\\x{{{ord(character):x}}}" for character in alphabet) + "]*$"

    def change(subschema: Schema, _: str) -> Schema:
        if "pattern" not in subschema and "format" not in subschema:
            return subschema
        return subschema | {"allOf": [*subschema.get("allOf", []), {"pattern": pattern}]}

    return changed(schema, change)


def needed_characters(schema: Schema) -> set[str]:
    """Characters of which some value that the schema allows has need.

    Those of strings that a pattern or a format describes are left out. Names that have to match
    ``patternProperties`` need all of ASCII.
    """
    needed = _Needed()
    found = needed.of(schema, tuple(_OF_TYPE))
    while needed.refs:
        ref, types = needed.refs.pop()
        found |= needed.of(resolved(schema, ref), types)
    return found


class _Needed:
    """Collects characters, and in ``refs`` the references that are still to be followed."""

    def __init__(self) -> None:
        self.refs: list[tuple[str, tuple[str, ...]]] = []
        self._seen: set[tuple[str, tuple[str, ...]]] = set()

    def of(self, schema: Any, types: tuple[str, ...]) -> set[str]:
        """Characters of a subschema; ``types`` are those that its parents leave."""
        if schema is False:
            return set()
        if schema is True:
            return _ANY
        if "const" in schema:
            return set(_compact(schema["const"]))
        if "enum" in schema:
            return set().union(*map(_compact, schema["enum"]))
        given = schema.get("type", types)
        own = (given,) if isinstance(given, str) else tuple(given)
        found: set[str] = set()
        ref = schema.get("$ref")
        if ref is not None and (ref, own) not in self._seen:
            self._seen.add((ref, own))
            self.refs.append((ref, own))
        for keyword in ("allOf", "anyOf", "oneOf"):
            for each in schema.get(keyword, ()):
                found |= self.of(each, own)
        applied = ref is not None or any(name in schema for name in ("allOf", "anyOf", "oneOf"))
        if "type" in schema or not applied:
            found |= self._of_types(schema, own)
        return found

    def _of_types(self, schema: Schema, types: tuple[str, ...]) -> set[str]:
        found = set().union(*(_OF_TYPE.get(name, "") for name in types))
        any_type = tuple(_OF_TYPE)
        if "object" in types:
            names = [*schema.get("properties", ()), *schema.get("required", ())]
            found |= set().union(*map(_compact, names))
            if "patternProperties" in schema:
                found |= set(map(chr, range(0x20, 0x7F)))
            for keyword in ("properties", "patternProperties"):
                for each in schema.get(keyword, {}).values():
                    found |= self.of(each, any_type)
            found |= self.of(schema.get("additionalProperties", True), any_type)
        if "array" in types:
            items = schema.get("items", True)
            several = [*schema.get("prefixItems", ()), *(items if isinstance(items, list) else ())]
            for each in several:
                found |= self.of(each, any_type)
            rest = schema.get("additionalItems", True) if isinstance(items, list) else items
            found |= self.of(rest, any_type)
        if {"number", "integer"} & set(types):
            most = [schema.get(name, 1) for name in ("maximum", "exclusiveMaximum")]
            found |= {"-"} if any(is_number(one) and one <= 0 for one in most) else set()
            found |= (
                {"."} if "number" in types and any(name in schema for name in BOUNDS) else set()
            )
        return found


def _compact(value: Any) -> str:
    """JSON of a constant as the grammar has it: without white space and exponents."""
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
