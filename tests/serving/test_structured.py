"""Answers by a JSON Schema over HTTP, as the official clients and what builds on them ask for."""

import asyncio
import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import ollama
import openai
import pytest
from pydantic import BaseModel, Field

from tests.serving.conftest import Running, serving

pytest.importorskip("llguidance", reason="needs the extra serve")

TURNS: list[Any] = [{"role": "user", "content": "the cat"}]
OPTIONS = {"temperature": 1.0, "top_k": 40, "num_predict": 400}
Short = Annotated[str, Field(max_length=5)]


class Kind(str, Enum):
    """What a $ref leads to."""

    cat = "cat"
    dog = "dog"


class Cat(BaseModel):
    type: Literal["cat"] = "cat"
    lives: int = Field(ge=0, le=9)


class Dog(BaseModel):
    type: Literal["dog"] = "dog"
    name: Short


class Home(BaseModel):
    """$defs, anyOf, enum, lists in lists, a union with a discriminator, a default."""

    kind: Kind
    rooms: list[list[bool]] = Field(max_length=2)
    owner: Short | None = None
    pet: Annotated[Cat | Dog, Field(discriminator="type")]
    size: int = Field(gt=0, lt=100)


def _fewer(schema: dict) -> dict:
    """Lists in lists end soon, so that an answer of random weights does, too."""
    schema["properties"]["rooms"]["items"]["maxItems"] = 2
    return schema


HOME = _fewer(Home.model_json_schema())


@pytest.fixture
def asked(server: Running) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.url) as client:
        yield client


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("seed", range(3))
def test_ollama_chat_and_generate(asked: ollama.Client, seed: int) -> None:
    options = OPTIONS | {"seed": seed}
    answer = asked.chat("json", TURNS, format=HOME, options=options)
    assert answer.done_reason == "stop"
    Home.model_validate_json(answer.message.content or "")
    pieces = list(asked.chat("json", TURNS, format=HOME, options=options, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == answer.message.content
    written = asked.generate("json", "the cat", format=HOME, options=options)
    assert written.response == answer.message.content
    cut = asked.generate("json", "the cat", format=HOME, options=options | {"num_predict": 5})
    assert (cut.done_reason, cut.eval_count) == ("length", 5)
    assert (answer.message.content or "").startswith(cut.response)


def test_openai_parses_a_model(client: openai.OpenAI) -> None:
    class Answer(BaseModel):
        kind: Kind
        words: list[Literal["a", "cat"]] = Field(max_length=3)
        owner: Literal["me"] | None

    parsed = client.chat.completions.parse(
        model="json", messages=TURNS, response_format=Answer, seed=1, max_tokens=400
    )
    assert parsed.choices[0].finish_reason == "stop"
    assert isinstance(parsed.choices[0].message.parsed, Answer)
    with client.chat.completions.stream(
        model="json", messages=TURNS, response_format=Answer, seed=1, max_tokens=400
    ) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == (
            parsed.choices[0].message.parsed
        )
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            model="json", messages=TURNS, response_format=Answer, seed=1, max_tokens=4
        )


@pytest.mark.parametrize("strict", [True, False, None])
def test_openai_takes_a_schema(client: openai.OpenAI, strict: bool | None) -> None:
    described = {"name": "home", "schema": HOME, "strict": strict}
    answer = client.chat.completions.create(
        model="json",
        messages=TURNS,
        response_format={"type": "json_schema", "json_schema": described},  # type: ignore
        seed=3,
        max_tokens=400,
    )
    assert answer.choices[0].finish_reason == "stop"
    Home.model_validate_json(answer.choices[0].message.content or "")


REFUSED: list[tuple[Any, str]] = [
    ({"type": "array", "uniqueItems": True}, '"uniqueItems"'),
    ({"properties": {"a": {"not": {}}}}, '"not"'),
    ({"type": "objekt"}, "Invalid type: objekt"),
    ({"name": "string"}, "not a JSON Schema"),
    ({"type": "array", "minItems": 10**9}, "minItems above 1,000"),
    ({"enum": ["a"] * 20_000}, "more than 10,000 values"),
    ({"$ref": "#/$defs/x"}, "leads to no schema"),
]


@pytest.mark.parametrize(("schema", "text"), REFUSED, ids=[text for _, text in REFUSED])
@pytest.mark.parametrize("stream", [True, False])
def test_refusals_come_before_the_first_token(
    server: Running, schema: Any, text: str, stream: bool
) -> None:
    described = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"model": "json", "messages": TURNS, "stream": stream}
    with httpx.Client(base_url=server.url) as http:
        answer = http.post("/api/chat", json=body | {"format": schema})
        assert answer.status_code == 400
        assert text in answer.json()["error"]
        answer = http.post("/v1/chat/completions", json=body | {"response_format": described})
        assert answer.status_code == 400
        assert text in answer.json()["error"]["message"]


def test_a_vocabulary_without_the_characters_is_named(
    asked: ollama.Client, client: openai.OpenAI
) -> None:
    with pytest.raises(ollama.ResponseError, match=r"vocabulary lacks '\"'.* '{' '}'") as found:
        asked.chat("tiny", TURNS, format=HOME)
    assert found.value.status_code == 400
    with pytest.raises(openai.BadRequestError, match="vocabulary lacks"):
        client.chat.completions.create(
            model="tiny", messages=TURNS, response_format={"type": "json_object"}
        )


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": "x"}},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": "object"}},
        {"type": "json_schema", "schema": {"type": "object"}},
    ],
)
def test_other_forms_of_response_format(client: openai.OpenAI, given: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="response_format"):
        client.chat.completions.create(model="json", messages=TURNS, response_format=given)


@pytest.mark.slow
def test_sixty_four_streams_with_schemas_and_without_are_each_as_if_alone(models: Path) -> None:
    formats: list[Any] = [HOME, None, "json", {"type": "array", "items": {"enum": ["a", 1, None]}}]

    def body(number: int) -> dict[str, Any]:
        options = OPTIONS | {"seed": number, "num_predict": 20 + number, "top_k": number % 3 * 20}
        given = {"model": "json", "prompt": "the cat", "options": options}
        return given | {"format": formats[number % 4]}

    def text(answer: httpx.Response) -> tuple[str, str]:
        assert answer.status_code == 200
        rows = [json.loads(row) for row in answer.text.splitlines()]
        return "".join(row["response"] for row in rows), rows[-1]["done_reason"]

    async def together(url: str) -> list[tuple[str, str]]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as http:
            calls = (http.post("/api/generate", json=body(number)) for number in range(64))
            return [text(answer) for answer in await asyncio.gather(*calls)]

    with serving(models, slots=64) as server, httpx.Client(base_url=server.url) as http:
        found = asyncio.run(together(server.url))
        alone = [text(http.post("/api/generate", json=body(number))) for number in range(64)]
    assert found == alone
    assert {reason for _, reason in found} == {"stop", "length"}
    assert all(json.loads(text) for text, reason in found[::4] if reason == "stop")
