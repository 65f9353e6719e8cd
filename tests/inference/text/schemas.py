"""Random JSON Schemas, and a small model with random weights that answers by them."""

import random
import string
from collections.abc import Callable
from typing import Any

import torch

from datamodules import CharTokenizer
from inference.text.generate import TextGenerator
from inference.text.tokenizer import Tokenizer
from lightning_modules.nets.gpt import GPT, GPTConfig

PRINTABLE = "\n" + "".join(map(chr, range(0x20, 0x7F)))
# As much as a small corpus has: no capitals, and of signs those of JSON and few others.
SIXTY = string.ascii_lowercase + string.digits + "\n {}[]\":,.-+\\/_!?'();=é"
FORMATS = ("date", "time", "date-time", "email", "ipv4", "uuid", "hostname", "color")
_NAMES = ("a", "b", "id", "the name", 'q"', "é")
_PATTERNS = ("^[a-c]{2,4}$", "[0-9]+", "a|bb", "^x.y$", r"^\d{3}-\w*$", "é", "^(a|b)*c", "[^a]")
_TEXTS = ("", "a", "bé", 'b"\\', "1\n", "true")
_RARE = ("not", "contains", "if", "propertyNames", "unevaluatedProperties")


class _Maker:
    """Makes schemas of all keywords; what is not supported is among them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def schema(self, depth: int) -> dict[str, Any]:
        """One with at most so many others in one another."""
        choice = self._random.random()
        if choice < 0.02:
            return {self._random.choice(_RARE): self._leaf()}
        if depth == 0 or choice < 0.3:
            return self._leaf()
        makers = (self._array, self._object, self._object, self._object, self._combined)
        return self._random.choice((*makers, self._referring))(depth - 1)

    def constant(self, depth: int = 2) -> Any:
        pick = self._random
        kinds: list[Callable[[], Any]] = [
            lambda: None,
            lambda: pick.random() < 0.5,
            lambda: pick.randint(-1000, 1000),
            lambda: round(pick.uniform(-9, 9), pick.randint(0, 3)),
            lambda: pick.choice(_TEXTS),
        ]
        if depth:
            kinds.append(lambda: [self.constant(depth - 1) for _ in range(pick.randint(0, 2))])
            kinds.append(lambda: {pick.choice(_NAMES): self.constant(depth - 1)})
        return pick.choice(kinds)()

    def _some(self, keywords: dict[str, Callable[[], Any]], share: float = 0.4) -> dict[str, Any]:
        return {name: make() for name, make in keywords.items() if self._random.random() < share}

    def _leaf(self) -> dict[str, Any]:
        pick = self._random
        count, number = (lambda: pick.randint(0, 3)), (lambda: pick.randint(-30, 30))
        kinds: list[Callable[[], dict[str, Any]]] = [
            lambda: {"type": "string"} | self._some({"minLength": count, "maxLength": lambda: 5}),
            lambda: {"type": "string", "pattern": pick.choice(_PATTERNS)},
            lambda: {"type": "string", "format": pick.choice(FORMATS)},
            lambda: {"type": pick.choice(("integer", "number"))} | self._some({"minimum": number}),
            lambda: {
                "type": pick.choice(("integer", "number")),
                "exclusiveMinimum": round(pick.uniform(-9, 0.5), 2),
                **self._some({"maximum": lambda: pick.randint(1, 99)}),
                **self._some({"exclusiveMaximum": lambda: round(pick.uniform(1.1, 99), 2)}),
            },
            lambda: {"type": "integer", "multipleOf": pick.randint(1, 12)},
            lambda: {"type": pick.choice(("null", "boolean", ["string", "null"]))},
            lambda: {"const": self.constant()},
            lambda: {"enum": [self.constant() for _ in range(pick.randint(1, 4))]},
            lambda: {"title": "any"} if pick.random() < 0.2 else {"type": "boolean"},
        ]
        return pick.choice(kinds)()

    def _array(self, depth: int) -> dict[str, Any]:
        pick = self._random
        several = {
            "items": lambda: self.schema(depth),
            "prefixItems": lambda: [self.schema(depth) for _ in range(pick.randint(1, 2))],
            "minItems": lambda: pick.randint(0, 2),
            "maxItems": lambda: pick.randint(2, 4),
        }
        rare = self._some({"uniqueItems": lambda: True}, 0.05)
        return {"type": "array"} | self._some(several, 0.6) | rare

    def _object(self, depth: int) -> dict[str, Any]:
        pick = self._random
        names = pick.sample(_NAMES, pick.randint(0, 3))
        seldom = {
            "patternProperties": lambda: {pick.choice(("^x", "[0-9]")): self.schema(depth)},
            "minProperties": lambda: pick.randint(0, 3),
            "maxProperties": lambda: pick.randint(2, 4),
        }
        return {
            "type": "object",
            "properties": {name: self.schema(depth) for name in names},
            **self._some({"required": lambda: pick.sample(names, pick.randint(0, len(names)))}),
            **self._some({"additionalProperties": lambda: pick.choice((True, False, False))}),
            **self._some({"additionalProperties": lambda: self.schema(depth)}, 0.15),
            **self._some(seldom, 0.1),
        }

    def _combined(self, depth: int) -> dict[str, Any]:
        pick = self._random
        several = [self.schema(depth) for _ in range(pick.randint(1, 3))]
        name = pick.choice(("anyOf", "anyOf", "anyOf", "oneOf", "allOf"))
        return {name: several} | self._some({"minLength": lambda: 1, "description": str}, 0.2)

    def _referring(self, depth: int) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"first": {"$ref": "#/$defs/one"}, "more": {"$ref": "#/$defs/more"}},
            "required": ["first"],
            "$defs": {
                "one": self.schema(depth),
                "more": {"type": "array", "items": self.schema(depth), "maxItems": 2},
            },
        }


def random_schemas(count: int) -> list[dict[str, Any]]:
    """So many different schemas, the same every time."""
    maker = _Maker(0)
    found: dict[str, dict[str, Any]] = {}
    while len(found) < count:
        schema = maker.schema(3)
        # References lead to the definitions at the root.
        if "$defs" not in repr(list(schema.values())):
            found.setdefault(repr(schema), schema)
    return list(found.values())


def random_model(tokenizer: Tokenizer, slots: int = 1, unused: int = 0) -> TextGenerator:
    """A small net with random weights; ``unused`` tokens are the model's alone."""
    torch.manual_seed(0)
    config = GPTConfig(tokenizer.vocab_size + unused, context=64)
    net = GPT(config)
    for parameter in net.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return TextGenerator(vars(config), net.state_dict(), tokenizer, "cpu", None, slots)


def of_characters(characters: str = PRINTABLE) -> Tokenizer:
    """A vocabulary of single characters."""
    return Tokenizer(CharTokenizer(characters).to_json())


def of_byte_pairs(size: int = 500) -> Tokenizer:
    """Byte-level byte pairs of some JSON."""
    from datamodules import BPETokenizer

    text = '{"name": "the cat", "tags": ["a", "b"], "size": 12.5, "small": true, "of": null}\n'
    return Tokenizer(BPETokenizer.fit(text * 3 + string.printable, size).to_json())
