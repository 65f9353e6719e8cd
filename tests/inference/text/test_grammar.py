"""Answers conform to their schema, whatever the model would rather generate."""

import json
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator

pytest.importorskip("llguidance", reason="needs the extra serve")

from inference.text import grammar as grammar_module
from inference.text.generate import TextGenerator
from inference.text.grammar import GrammarCompiler, GrammarError, allowed_tokens
from inference.text.options import ANY_OBJECT
from inference.text.sampling import Sampler, SamplingOptions
from inference.text.tokenizer import Tokenizer
from tests.inference.text.schemas import (
    PRINTABLE,
    SIXTY,
    of_byte_pairs,
    of_characters,
    random_model,
    random_schemas,
)

VOCABULARIES: dict[str, Callable[[], Tokenizer]] = {
    "characters": of_characters,
    "sixty": lambda: of_characters(SIXTY),
    "byte pairs": of_byte_pairs,
}


def _answers(generator: TextGenerator, schemas: list[dict]) -> tuple[list[bool], dict[int, str]]:
    """Which answers are complete, each of them checked, and why others were refused."""
    refused: dict[int, str] = {}
    begun = []
    for number, schema in enumerate(schemas):
        options = SamplingOptions(300, 1.2, top_k=40, seed=number, schema=schema)
        try:
            begun.append(generator.begin("the cat", options))
        except ValueError as error:
            refused[number] = str(error)
    for _ in generator.run(begun):
        pass
    for generation in begun:
        schema = generation.options.schema
        if generation.reason == "stop":
            value = json.loads(generation.text)
            assert Draft202012Validator(schema).is_valid(value), (schema, generation.text)
        else:
            assert generation.reason == "length"
            assert len(generation.tokens) == 300
    return [generation.reason == "stop" for generation in begun], refused


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_schemas_are_kept_or_refused_by_name(vocabulary: str, count: int) -> None:
    if vocabulary == "byte pairs":
        pytest.importorskip("tokenizers", reason="needs the extra llm")
    schemas = random_schemas(count)
    complete, refused = _answers(random_model(VOCABULARIES[vocabulary](), 64), schemas)
    for number, why in refused.items():
        named = [word for word in _keywords(schemas[number]) if word in why]
        assert named or "nsatisfiable" in why or "vocabulary lacks" in why, (why, schemas[number])
    assert len(refused) < 0.5 * count
    assert sum(complete) > 0.7 * len(complete)  # the others end with their 300 tokens


def _keywords(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        return set(schema).union(*map(_keywords, schema.values()))
    return set().union(*map(_keywords, schema)) if isinstance(schema, list) else set()


PERSON = {
    "title": "Person",
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "kind": {"enum": ["a", "b"], "title": "Kind"},
        "home": {"anyOf": [{"$ref": "#/$defs/Home"}, {"type": "null"}], "default": None},
    },
    "required": ["name", "age", "kind"],
    "$defs": {
        "Home": {
            "type": "object",
            "properties": {"rooms": {"type": "array", "items": {"type": "integer"}, "maxItems": 2}},
            "required": ["rooms"],
        }
    },
}


def _generate(schema: Any, count: int, tokenizer: Tokenizer, **options: Any) -> list[str]:
    generator = random_model(tokenizer, 16)
    given = {"temperature": 1.2, "top_k": 40} | options
    asked = [SamplingOptions(400, seed=n, schema=schema, **given) for n in range(count)]
    done = generator.generate(["the cat"] * count, asked)
    return [one.text for one in done if one.reason == "stop"]


def test_an_object_has_its_properties_in_order_and_no_others() -> None:
    texts = _generate(PERSON, 24, of_characters())
    assert len(texts) >= 20
    for text in texts:
        value = json.loads(text)
        assert list(value)[:3] == ["name", "age", "kind"]
        assert set(value) <= set(PERSON["properties"])


def test_any_object() -> None:
    texts = _generate(ANY_OBJECT, 30, of_characters(), temperature=1.5, top_k=0)
    assert len(texts) >= 5
    assert all(isinstance(json.loads(text), dict) for text in texts)
    assert not any(re.search(r"[\n\t]|\s\s", text) for text in texts)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 5.0])
def test_tokens_that_the_tokenizer_has_not_are_never_taken(temperature: float) -> None:
    generator = random_model(of_characters(), 4, unused=200)
    asked = [SamplingOptions(60, temperature, seed=n, schema=PERSON) for n in range(8)]
    for answer in generator.generate(["the cat"] * 8, asked):
        assert answer.text.startswith('{"name":')


def test_streams_with_schemas_and_without_are_each_as_if_alone() -> None:
    schemas = [PERSON, ANY_OBJECT, None, {"type": "array", "items": {"type": "boolean"}}, None]
    options = [
        SamplingOptions(
            40 + n % 30,
            temperature=(n % 3) * 0.6,
            top_k=(n % 4) * 5,
            repetition_penalty=1 + (n % 2) / 2,
            seed=n,
            schema=schemas[n % 5],
        )
        for n in range(80)
    ]
    together = random_model(of_characters(), 64).generate(["the cat"] * 80, options)
    alone = random_model(of_characters(), 1)
    for option, found in zip(options, together, strict=True):
        (expected,) = alone.generate(["the cat"], option)
        assert (found.text, found.reason) == (expected.text, expected.reason)
    assert {found.reason for found in together} == {"stop", "length"}


def test_an_answer_that_is_cut_says_so() -> None:
    (cut,) = random_model(of_characters()).generate(
        ["the cat"], SamplingOptions(9, seed=1, schema=PERSON)
    )
    assert cut.reason == "length"
    assert (len(cut.tokens), cut.text) == (9, '{"name": "' if " " in cut.text else '{"name":"')


def test_a_number_ends_with_or_without_an_end_of_text() -> None:
    whole = {"type": "integer", "minimum": 10, "maximum": 10**6}
    texts = _generate(whole, 8, of_characters())
    assert len(texts) == 8
    assert all(10 <= json.loads(text) <= 10**6 for text in texts)
    pytest.importorskip("tokenizers", reason="needs the extra llm")
    texts = _generate(whole, 8, of_byte_pairs(), top_k=0)
    assert len(texts) == 8
    assert all(10 <= json.loads(text) <= 10**6 for text in texts)


def test_the_bits_of_a_mask_are_the_tokens_that_can_be_taken() -> None:
    pytest.importorskip("tokenizers", reason="needs the extra llm")
    tokenizer = of_byte_pairs()
    compiler = GrammarCompiler(tokenizer)
    sampler = Sampler(3, tokenizer.vocab_size, 1, torch.device("cpu"))
    text = '{"name": "a cat", "age": 12, "kind": "b"}'
    tokens = tokenizer.encode(text)
    for count in range(len(tokens)):
        grammar = compiler.compile(PERSON)
        for token in tokens[:count]:
            grammar.push(token)
        sampler.ban(torch.tensor([2]), allowed_tokens([grammar]))
        assert not sampler.banned[2, tokens[count]]
        taken = grammar.matcher.validate_tokens
        found = (~sampler.banned[2]).nonzero()[:, 0].tolist()
        assert all(taken([token]) for token in found)
        if len(found) > 1:  # text that has to come next comes in the tokenizer's own tokens
            expected = [one for one in range(tokenizer.vocab_size) if taken([one])]
            assert found == expected
    assert not sampler.banned[:2].any()


def _chain(count: int) -> dict[str, Any]:
    """Each definition needs the next; so many levels are more than a stack holds."""
    defs: dict[str, Any] = {
        f"d{n}": {"type": "array", "items": {"$ref": f"#/$defs/d{n + 1}"}} for n in range(count)
    }
    return {"$ref": "#/$defs/d0", "$defs": defs | {f"d{count}": {"type": "null"}}}


def _branch(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"const": 1}}, "required": [name]}


_MANY = {f"p{n}": {} for n in range(400)}
TOO_MUCH: list[tuple[Any, str]] = [
    (_chain(2000), "levels"),
    ({"type": "object", "properties": {f"p{n}": {} for n in range(5000)}}, "500 properties"),
    ({"patternProperties": {f"^x{n}": {} for n in range(500)}}, "30 patternProperties"),
    ({"properties": _MANY, "minProperties": 1}, "minProperties of more than 50"),
    ({"allOf": [{"anyOf": [_branch(f"a{n}"), _branch(f"b{n}")]} for n in range(30)]}, "too large"),
    ({"type": "string", "pattern": ".*a.{1000}b.{1000}c", "maxLength": 8000}, "regex"),
    ({"enum": [{"a": n} for n in range(2000)]}, "500 lists or objects in enum"),
    ({"enum": ["a" * 1000] * 200}, "120,000 characters"),
    ({"oneOf": [{"$ref": "#/$defs/a"}] * 400, "$defs": {"a": {"properties": _MANY}}}, "values"),
    ({"allOf": [{"type": "integer", "multipleOf": n} for n in (997, 991, 983)]}, "common multiple"),
]


@pytest.mark.parametrize(("schema", "name"), TOO_MUCH, ids=[name for _, name in TOO_MUCH])
def test_what_is_meant_to_take_too_long_is_refused(schema: dict, name: str) -> None:
    compiler = GrammarCompiler(of_characters())
    began = time.process_time()
    with pytest.raises(ValueError, match=re.escape(name)):
        compiler.compile(schema)
    assert time.process_time() - began < 3


def test_branches_of_a_discriminator_need_it() -> None:
    """As Pydantic writes a union; a property with a default is not required there."""
    kinds = {
        kind: {
            "type": "object",
            "properties": {
                "type": {"const": kind, "default": kind},
                "of": {"anyOf": [{"$ref": "#/$defs/any"}, {"type": "null"}]},
            },
        }
        for kind in ("a", "b")
    }
    union = {
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in kinds],
        "discriminator": {"propertyName": "type"},
    }
    texts = _generate({"$ref": "#/$defs/any", "$defs": kinds | {"any": union}}, 16, of_characters())
    assert len(texts) >= 8
    assert {json.loads(text)["type"] for text in texts} == {"a", "b"}


NOT_SUPPORTED: list[tuple[Any, str]] = [
    ({"not": {"type": "string"}}, '"not"'),
    ({"type": "array", "uniqueItems": True}, '"uniqueItems"'),
    ({"type": "array", "contains": {"type": "null"}}, '"contains"'),
    ({"if": {"type": "null"}, "then": False}, '"if"'),
    ({"type": "object", "propertyNames": {"maxLength": 2}}, '"propertyNames"'),
    ({"type": "object", "dependentRequired": {"a": ["b"]}}, '"dependentRequired"'),
    ({"type": "object", "dependencies": {"a": ["b"]}}, '"dependencies"'),
    ({"type": "object", "unevaluatedProperties": False}, '"unevaluatedProperties"'),
    ({"properties": {"a": {"$dynamicRef": "#x"}}}, '"$dynamicRef"'),
    ({"type": "string", "format": "color"}, "format: color"),
    ({"type": "string", "pattern": "^(?=a)"}, "pattern"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
    ({"type": "number", "multipleOf": 0.1}, "multipleOf 0.1"),
    ({"type": "object", "minProperties": 3}, "minProperties"),
    ({"type": "integer", "minimum": 10**20}, "minimum beyond 2^53"),
    ({"const": 2**60}, "a number beyond 2^53 in const"),
    ({"enum": ["a", "b\x01"]}, "a control character in enum"),
    ({"type": "array", "minItems": 10**9}, "minItems above 1,000"),
    ({"$ref": "https://example.org/schema.json"}, "$ref 'https://example.org/schema.json'"),
    ({"$ref": "#/$defs/a"}, "$ref '#/$defs/a' that leads to no schema"),
    ({"type": "integer", "minimum": 3, "maximum": 2}, "nsatisfiable"),
]


@pytest.mark.parametrize(("schema", "name"), NOT_SUPPORTED, ids=[name for _, name in NOT_SUPPORTED])
def test_what_is_not_supported_is_named(schema: dict, name: str) -> None:
    compiler = GrammarCompiler(of_characters())
    for each in (schema, {"type": "object", "properties": {"in": schema}, "required": ["in"]}):
        if "$ref" in schema and each is not schema:
            continue
        with pytest.raises(ValueError, match=re.escape(name)):
            compiler.compile(each)


@pytest.mark.parametrize(
    "schema",
    [
        *(None, True, "string", ["object"], 5),
        *({"type": "objekt"}, {"type": 5}, {"properties": ["a"]}, {"required": "a"}),
        *({"minLength": -1}, {"enum": "a"}, {"name": "string", "age": "integer"}),
        *({"type": "string", "pattern": "("}, {"$schema": 5}, {"items": "string"}),
        {"properties": {"a": "string"}},
    ],
)
def test_what_is_not_a_schema_is_refused(schema: Any) -> None:
    with pytest.raises(ValueError, match=r"[Ss]chema"):
        GrammarCompiler(of_characters()).compile(schema)


@pytest.mark.parametrize(
    ("lacking", "schema", "named"),
    [
        ('{}"', PERSON, "vocabulary lacks '\"' '{' '}'"),
        ("07", {"type": "integer"}, "'0' '7'"),
        ("u", {"type": ["boolean", "string"]}, "'u'"),
        ("k", PERSON, "'k'"),
        ("é", {"enum": ["é", "a"]}, "'é'"),
        ("\\", {"const": 'a"'}, "'\\\\'"),
        ("-", {"type": "number", "maximum": -3}, "'-'"),
        (".", {"type": "number", "minimum": 0.2, "maximum": 0.8}, "'.'"),
        ("[", ANY_OBJECT, "'['"),
        ("5", {"type": "string", "pattern": "^5"}, "Regex is empty"),
        ("T", {"type": "string", "format": "date-time"}, None),
        ("7.-", {"type": "string", "maxLength": 3}, None),
        ("\\", {"type": "string", "minLength": 3, "maxLength": 4}, None),
    ],
)
def test_characters_that_a_vocabulary_lacks(lacking: str, schema: dict, named: str | None) -> None:
    tokenizer = of_characters("".join(set(PRINTABLE) - set(lacking)))
    if named is None:  # another way to write it
        texts = _generate(schema, 8, tokenizer)
        assert len(texts) == 8
        assert all(Draft202012Validator(schema).is_valid(json.loads(text)) for text in texts)
        return
    with pytest.raises(ValueError, match=re.escape(named)):
        random_model(tokenizer).begin("the", SamplingOptions(schema=schema))


def test_what_becomes_too_complex_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random_model(of_characters(), 4)
    plain = generator.generate(["the cat"], SamplingOptions(30, seed=1))[0].text
    asked = SamplingOptions(30, seed=1)
    begun = [generator.begin("the cat", asked), generator.begin("the cat", asked)]
    monkeypatch.setitem(grammar_module._LIMITS, "step_max_items", 3)
    begun.append(generator.begin("the cat", SamplingOptions(30, seed=1, schema=PERSON)))
    with pytest.raises(GrammarError, match="cannot be continued"):
        for _ in generator.run(begun):
            pass
    assert begun[-1].reason == "error"
    assert generator.generate(["the cat"], asked)[0].text == plain


def test_without_the_package_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(ValueError, match="the package llguidance: make setup EXTRAS=dev,serve"):
        random_model(of_characters()).begin("a", SamplingOptions(schema=ANY_OBJECT))
