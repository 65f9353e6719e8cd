"""Log-probabilities in all four forms, whole and streamed; the model's own by a softmax here."""

import asyncio
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import ollama
import openai
import pytest
import torch

from inference.text.generate import TextGenerator
from tests.serving.conftest import CHARACTERS, Running, serving

VOCABULARY = "".join(sorted(CHARACTERS))
OPTIONS = {"num_predict": 8, "seed": 3, "temperature": 0.9}
TURNS = [{"role": "user", "content": "the cat"}]
KINDS = 10  # of requests that run at once


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def model(models: Path) -> TextGenerator:
    return TextGenerator.load(models / "tiny", device="cpu")


def _expected(model: TextGenerator, text: str) -> list[dict[str, float]]:
    """After each character of a text, the log-probability of each next one, in float64."""
    logits = model.model.all_logits(model.tokenizer.encode(text)).double()
    rows = (logits - torch.logsumexp(logits, 1, keepdim=True)).tolist()
    return [dict(zip(VOCABULARY, row, strict=True)) for row in rows]


def _check_entries(model: TextGenerator, text: str, entries: list[dict], top: int) -> None:
    """Entries in Ollama's form, or that of OpenAI's chat, for what came after ``the cat``."""
    assert "".join(entry["token"] for entry in entries) == text
    expected = _expected(model, f"the cat{text}")[6:-1]
    for entry, row in zip(entries, expected, strict=True):
        assert entry["logprob"] == pytest.approx(row[entry["token"]], abs=1e-4)
        assert bytes(entry["bytes"]).decode() == entry["token"]
        likely = entry.get("top_logprobs") or []
        assert [one["logprob"] for one in likely] == pytest.approx(
            sorted(row.values(), reverse=True)[:top], abs=1e-4
        )
        for one in likely:
            assert one["logprob"] == pytest.approx(row[one["token"]], abs=1e-4)


@pytest.mark.parametrize("top", [None, 0, 5, 20])
@pytest.mark.parametrize("route", ["generate", "chat"])
def test_ollamas_form(http: httpx.Client, model: TextGenerator, route: str, top: int) -> None:
    asked: dict[str, Any] = {"model": "tiny", "options": OPTIONS, "logprobs": True}
    asked |= {"prompt": "the cat"} if route == "generate" else {"messages": TURNS}
    asked |= {} if top is None else {"top_logprobs": top}
    whole = http.post(f"/api/{route}", json=asked | {"stream": False}).json()
    text = whole["response"] if route == "generate" else whole["message"]["content"]
    assert len(text) == 8
    _check_entries(model, text, whole["logprobs"], min(top or 0, len(VOCABULARY)))
    rows = [json.loads(row) for row in http.post(f"/api/{route}", json=asked).text.splitlines()]
    assert [entry for row in rows for entry in row.get("logprobs", [])] == whole["logprobs"]
    for row in rows:
        piece = row["response"] if route == "generate" else row["message"]["content"]
        assert "".join(entry["token"] for entry in row.get("logprobs", [])) == piece
    plain = http.post(f"/api/{route}", json=asked | {"stream": False, "logprobs": False}).json()
    assert "logprobs" not in plain
    assert (plain["response"] if route == "generate" else plain["message"]["content"]) == text


def test_ollamas_client_reads_them(server: Running) -> None:
    with ollama.Client(host=server.url) as client:
        answer = client.generate("tiny", "the cat", options=OPTIONS, logprobs=True, top_logprobs=2)
        assert "".join(one.token for one in answer.logprobs) == answer.response
        assert all(len(one.top_logprobs) == 2 for one in answer.logprobs)
        chunks = client.chat("tiny", TURNS, options=OPTIONS, logprobs=True, stream=True)
        scored = [one.logprob for chunk in chunks for one in chunk.logprobs or ()]
        assert scored == [one.logprob for one in answer.logprobs]


@pytest.mark.parametrize("top", [None, 0, 4, 20])
def test_openais_chat(server: Running, model: TextGenerator, top: int | None) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": TURNS, "max_tokens": 8, "seed": 3}
    asked |= {"logprobs": True} | ({} if top is None else {"top_logprobs": top})
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        (choice,) = client.chat.completions.create(**asked).choices
        entries = [entry.model_dump() for entry in choice.logprobs.content]
        _check_entries(model, choice.message.content, entries, min(top or 0, len(VOCABULARY)))
        streamed = [
            entry.model_dump()
            for chunk in client.chat.completions.create(**asked, stream=True)
            for entry in chunk.choices[0].logprobs.content
        ]
        assert streamed == entries
        assert client.chat.completions.create(**asked | {"logprobs": False, "top_logprobs": None})


@pytest.mark.parametrize("top", [0, 3])
@pytest.mark.parametrize("echo", [False, True])
def test_openais_completions(server: Running, model: TextGenerator, top: int, echo: bool) -> None:
    asked = {"model": "tiny", "prompt": "the cat", "max_tokens": 8, "seed": 3}
    asked |= {"logprobs": top, "echo": echo}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        (choice,) = client.completions.create(**asked).choices
        chunks = list(client.completions.create(**asked, stream=True))
    found = choice.logprobs.model_dump()
    text = choice.text if echo else f"the cat{choice.text}"
    assert (len(text), text[:7]) == (15, "the cat")
    assert "".join(found["tokens"]) == choice.text
    assert found["text_offset"] == list(range(len(choice.text)))
    rows = _expected(model, text)[:-1]
    if echo:
        assert found["token_logprobs"].pop(0) is found["top_logprobs"].pop(0) is None
    else:
        rows = rows[6:]
    tokens = found["tokens"][echo:]
    for token, logprob, likely, row in zip(
        tokens, found["token_logprobs"], found["top_logprobs"], rows, strict=True
    ):
        assert logprob == likely[token] == pytest.approx(row[token], abs=1e-4)
        assert top <= len(likely) <= top + 1
        best = sorted(row.values(), reverse=True)[:top]
        assert sorted(likely.values(), reverse=True)[:top] == pytest.approx(best, abs=1e-4)
    assert "".join(chunk.choices[0].text for chunk in chunks) == choice.text
    for field, values in choice.logprobs.model_dump().items():
        parts = [chunk.choices[0].logprobs.model_dump()[field] for chunk in chunks]
        assert [value for part in parts for value in part] == values


def test_a_prompt_alone_is_scored_with_no_token_generated(
    http: httpx.Client, model: TextGenerator
) -> None:
    """As the harnesses that count log-likelihoods ask, and with nothing behind the prompt."""
    asked = {"model": "tiny", "prompt": "the cat sat", "logprobs": 1, "echo": True}
    (choice,) = http.post("/v1/completions", json=asked | {"max_tokens": 0}).json()["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("the cat sat", "length")
    found = choice["logprobs"]["token_logprobs"]
    rows = _expected(model, "the cat sat")
    expected = [row[letter] for row, letter in zip(rows, "he cat sat", strict=False)]
    assert found[0] is None
    assert found[1:] == pytest.approx(expected, abs=1e-4)
    (longer,) = http.post("/v1/completions", json=asked | {"max_tokens": 1}).json()["choices"]
    assert longer["logprobs"]["token_logprobs"][:-1] == pytest.approx(found, abs=1e-5)
    assert len(longer["logprobs"]["tokens"]) == 12
    answer = http.post("/v1/completions", json=asked | {"max_tokens": 0, "logprobs": None}).json()
    assert answer["choices"][0]["text"] == "the cat sat"
    assert answer["usage"] == {"prompt_tokens": 11, "completion_tokens": 0, "total_tokens": 11}
    one = http.post("/v1/completions", json=asked | {"max_tokens": 0, "prompt": "t"}).json()
    assert one["choices"][0]["logprobs"]["token_logprobs"] == [None]


def test_a_prompt_that_is_echoed_is_never_cut(http: httpx.Client) -> None:
    asked = {"model": "tiny", "prompt": "a" * 97, "echo": True, "max_tokens": 1}
    answer = http.post("/v1/completions", json=asked)
    assert answer.status_code == 400
    assert "the input length exceeds the context length" in answer.text
    assert http.post("/v1/completions", json=asked | {"echo": False}).status_code == 200


# Every answer of it ends, whatever the weights.
PETS = {
    "type": "array",
    "minItems": 1,
    "maxItems": 3,
    "items": {
        "type": "object",
        "properties": {
            "kind": {"enum": ["cat", "dog", None]},
            "lives": {"type": "integer", "minimum": 0, "maximum": 99},
            "name": {"type": "string", "maxLength": 4},
        },
        "required": ["kind", "lives", "name"],
        "additionalProperties": False,
    },
}


def _mixed(number: int) -> tuple[str, dict[str, Any]]:
    """Requests of all four routes: plain, scored, with a bias, with a schema, with both."""
    seed, prompt = number, ("the cat", "a dog", "the cat and the dog")[number % 3]
    messages = [{"role": "user", "content": prompt}]
    length = 8 + number % 17
    options = {"num_predict": length, "seed": seed, "temperature": number % 3 / 2}
    ollamas = {"model": "json", "options": options}
    openais = {"model": "json", "max_tokens": length, "seed": seed, "stream": True}
    long = {"options": options | {"num_predict": 400}, "format": PETS}
    response_format = {"type": "json_schema", "json_schema": {"name": "pets", "schema": PETS}}
    longer = openais | {"max_tokens": 400, "response_format": response_format}
    bias = {"logit_bias": {str(number % 15): 3, "e": -100}}
    return [
        ("/api/generate", ollamas | {"prompt": prompt}),
        ("/v1/completions", openais | {"prompt": prompt, "logprobs": number % 6} | bias),
        (
            "/api/chat",
            ollamas | {"messages": messages, "logprobs": True, "top_logprobs": number % 21},
        ),
        ("/v1/completions", openais | {"prompt": prompt, "logprobs": 2, "echo": True}),
        ("/v1/chat/completions", openais | {"messages": messages} | bias),
        ("/v1/chat/completions", openais | {"messages": messages, "logprobs": True}),
        ("/api/generate", ollamas | long | {"prompt": prompt}),
        ("/api/chat", ollamas | long | {"messages": messages, "logprobs": True}),
        ("/v1/chat/completions", longer | {"messages": messages}),
        ("/v1/chat/completions", longer | {"messages": messages, "logprobs": True}),
    ][number % KINDS]


def _parts(answer: httpx.Response) -> tuple[str, list[Any]]:
    """Text and scores of a stream of any of the four."""
    assert answer.status_code == 200, answer.text
    text, scores = "", []
    for row in answer.text.replace("data: ", "").split("\n"):
        if not row or row == "[DONE]":
            continue
        chunk = json.loads(row)
        (choice,) = chunk.get("choices", [chunk])
        inner = choice.get("delta") or choice.get("message") or choice
        text += inner.get("text") or inner.get("content") or inner.get("response") or ""
        found = choice.get("logprobs") or []
        if "token_logprobs" in found:
            scores += zip(found["tokens"], found["token_logprobs"], strict=True)
        else:
            entries = found["content"] if isinstance(found, dict) else found
            scores += [(entry["token"], entry["logprob"]) for entry in entries]
    return text, scores


@pytest.mark.slow
@pytest.mark.parametrize("slots", [64, 9])
def test_64_streams_of_all_kinds_at_once_are_each_as_if_alone(models: Path, slots: int) -> None:
    async def together(url: str) -> list[tuple[str, list[Any]]]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            calls = (client.post(path, json=body) for path, body in map(_mixed, range(64)))
            return [_parts(answer) for answer in await asyncio.gather(*calls)]

    with serving(models, slots=slots) as server, httpx.Client(base_url=server.url) as client:
        found = asyncio.run(together(server.url))
        for number, (text, scores) in enumerate(found):
            path, body = _mixed(number)
            expected, expected_scores = _parts(client.post(path, json=body))
            assert text == expected, number
            if number % KINDS >= KINDS - 4:
                jsonschema.validate(json.loads(text), PETS)
            assert [token for token, _ in scores] == [token for token, _ in expected_scores]
            for (_, one), (_, other) in zip(scores, expected_scores, strict=True):
                assert one is other is None or math.isclose(one, other, abs_tol=1e-4), number
