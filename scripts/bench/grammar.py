"""``gpu-learning bench grammar``: what answers by a JSON Schema cost in each step."""

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from inference.text.grammar import Grammar, GrammarCompiler, allowed_tokens
from inference.text.options import ANY_OBJECT
from inference.text.sampling import Sampler
from inference.text.tokenizer import Tokenizer
from scripts.bench.timing import Row, machine, summary, table
from scripts.parser import Parser

_PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "email": {"anyOf": [{"type": "string", "format": "email"}, {"type": "null"}]},
        "kind": {"enum": ["student", "teacher", "guest"]},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
        "friends": {"type": "array", "items": {"$ref": "#"}},
    },
    "required": ["name", "age", "kind"],
}
SCHEMAS = {
    "any object": dict(ANY_OBJECT),
    "person": _PERSON,
    "an enum of 1,000 words": {"enum": [f"word {number}" for number in range(1000)]},
}


def main(argv: Sequence[str]) -> int:
    """Measures and prints; ``argv`` begins with the benchmark's name."""
    parser = Parser(
        "gpu-learning bench grammar",
        description="Processor milliseconds to compile a schema, and per step to find the tokens "
        "that may come next and to ban the others, along random answers.",
    )
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer, such as GPT-2's")
    parser.add_argument("--slots", default="1,64", help="answers at once, by comma (%(default)s)")
    parser.add_argument("--steps", type=int, default=300, help="(%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv[1:])
    if arguments.tokenizer is None:
        raise ValueError("name the folder of a tokenizer: --tokenizer models/NAME")
    tokenizer = Tokenizer.of_pretrained(arguments.tokenizer)
    rows = _measure(
        tokenizer, [int(count) for count in arguments.slots.split(",")], arguments.steps
    )
    document = {"tokens": tokenizer.vocab_size, **machine("cpu"), "milliseconds": rows}
    if arguments.json:
        print(json.dumps(document))
        return 0
    print("{tokens:,} tokens, {where}, {threads} threads, torch {torch}".format(**document))
    print(table(rows, "ms"))
    return 0


def _measure(tokenizer: Tokenizer, slots: Sequence[int], steps: int) -> dict[str, Row]:
    compiler = GrammarCompiler(tokenizer)
    rows = {}
    for name, schema in SCHEMAS.items():
        rows[f"{name}: compile"] = summary([_compile(compiler, schema) for _ in range(20)])
        for count in slots:
            walk = _Walk(compiler, schema, count)
            found = [walk.step() for _ in range(steps)]
            rows[f"{name}: step of {count}"] = summary(found)
    return rows


def _compile(compiler: GrammarCompiler, schema: dict) -> float:
    began = time.process_time()
    compiler.compile(schema)
    return 1000 * (time.process_time() - began)


class _Walk:
    """Random answers, as many at once as a batch has; one that ends begins again."""

    def __init__(self, compiler: GrammarCompiler, schema: dict, slots: int) -> None:
        self._compiler, self._schema = compiler, schema
        self._grammars = [self._new() for _ in range(slots)]
        self._sampler = Sampler(slots, self._grammars[0].size, 1, torch.device("cpu"))
        self._rows = torch.arange(slots)
        self._random = random.Random(0)

    def step(self) -> float:
        """Processor milliseconds of one step without the model's own work."""
        began = time.process_time()
        self._sampler.ban(self._rows, allowed_tokens(self._grammars))
        spent = time.process_time() - began
        for slot, banned in enumerate(self._sampler.banned):
            token = self._token(banned)
            began = time.process_time()
            self._grammars[slot].push(token)
            complete = self._grammars[slot].complete
            spent += time.process_time() - began
            if complete:
                self._grammars[slot] = self._new()
        return 1000 * spent

    def _new(self) -> Grammar:
        return self._compiler.compile(self._schema)

    def _token(self, banned: Tensor) -> int:
        allowed = (~banned).nonzero()[:, 0]
        return int(allowed[self._random.randrange(len(allowed))])
