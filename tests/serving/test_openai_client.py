"""The official ``openai`` client, sync and async, against a server that runs."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.serving.conftest import Running, serving

TURNS = [{"role": "user", "content": "the cat"}]


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} >= {"tiny:latest", "digits:latest"}
    assert client.models.retrieve("tiny").object == "model"
    with pytest.raises(openai.NotFoundError, match="model 'nobody' not found"):
        client.models.retrieve("nobody")


def test_completions(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "prompt": "the cat", "max_tokens": 12, "seed": 7}
    whole = client.completions.create(**asked)
    assert len(whole.choices[0].text) == 12
    assert whole.choices[0].finish_reason == "length"
    usage = whole.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (7, 12, 19)
    chunks = list(client.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"
    stop = whole.choices[0].text[5]
    cut = client.completions.create(**asked, stop=stop).choices[0]
    assert cut.text == whole.choices[0].text.partition(stop)[0]
    assert cut.finish_reason == "stop"
    greedy = client.completions.create(**asked, temperature=0)
    assert greedy.choices[0].text != whole.choices[0].text
    assert client.completions.create(**asked, top_p=0).choices[0].text == greedy.choices[0].text


def test_chat(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "messages": TURNS, "max_completion_tokens": 9, "seed": 7}
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.role == "assistant"
    assert len(whole.choices[0].message.content) == 9
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage.completion_tokens == 9
    assert chunks[-1].choices == []
    assert chunks[-2].choices[0].finish_reason == "length"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == whole.choices[0].message.content
    parts = [{"role": "user", "content": [{"type": "text", "text": "the cat"}]}]
    in_parts = client.chat.completions.create(**asked | {"messages": parts})
    assert in_parts.choices[0].message.content == text
    plain = client.completions.create(model="tiny", prompt="the cat", max_tokens=9, seed=7)
    assert plain.choices[0].text == text


def test_no_text_of_a_conversation_vanishes(client: openai.OpenAI) -> None:
    def read(*turns: tuple[str, str]) -> int:
        messages = [{"role": role, "content": content} for role, content in turns]
        asked = {"model": "tiny", "max_tokens": 1}
        return client.chat.completions.create(messages=messages, **asked).usage.prompt_tokens

    assert read(("developer", "the dog "), ("user", "the cat")) == 15
    assert read(("user", "the dog "), ("assistant", ""), ("user", "the cat")) == 15
    assert read(("user", "the dog "), ("developer", "a"), ("user", "the cat")) == 16
    halves = [{"type": "text", "text": "the "}, {"type": "text", "text": "cat"}]
    asked = {"model": "tiny", "max_tokens": 9, "seed": 7}
    parts = client.chat.completions.create(messages=[{"role": "user", "content": halves}], **asked)
    assert parts.usage.prompt_tokens == 7
    whole = client.chat.completions.create(messages=TURNS, **asked)
    assert parts.choices[0].message.content == whole.choices[0].message.content


def test_no_limit_of_tokens(models: Path) -> None:
    with (
        serving(models, max_tokens=20) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        asked = {"model": "tiny", "messages": TURNS, "seed": 7}
        for limit in ({}, {"max_tokens": -1}, {"max_tokens": 0}, {"max_completion_tokens": -1}):
            answer = client.chat.completions.create(**asked, **limit)
            assert answer.usage.completion_tokens == 20
        ended = client.completions.create(model="tiny", prompt="the cat", max_tokens=-1)
        assert ended.usage.completion_tokens == 20
        # Here 0 would mean no token at all.
        with pytest.raises(openai.BadRequestError, match="max_tokens must be at least 1"):
            client.completions.create(model="tiny", prompt="the cat", max_tokens=0)


def test_embeddings(client: openai.OpenAI, server: Running) -> None:
    texts = ["the cat sat", "dogs"]
    asked = {"model": "tiny", "input": texts}
    plain = client.embeddings.create(**asked, encoding_format="float")
    expected = httpx.post(f"{server.url}/api/embed", json=asked).json()["embeddings"]
    assert [entry.embedding for entry in plain.data] == [pytest.approx(one) for one in expected]
    assert [entry.index for entry in plain.data] == [0, 1]
    assert (plain.object, plain.model) == ("list", "tiny")
    assert (plain.usage.prompt_tokens, plain.usage.total_tokens) == (15, 15)
    # The package asks for base64 and reads it where no form is named.
    packed = client.embeddings.create(**asked)
    assert [entry.embedding for entry in packed.data] == [pytest.approx(one) for one in expected]
    raw = httpx.post(f"{server.url}/v1/embeddings", json=asked | {"encoding_format": "base64"})
    assert isinstance(raw.json()["data"][0]["embedding"], str)
    one = client.embeddings.create(model="tiny", input=texts[0])
    assert one.data[0].embedding == pytest.approx(expected[0], abs=1e-6)
    ids = httpx.post(f"{server.url}/tokenize", json={"model": "tiny", "content": texts[0]}).json()
    for tokens in (ids["tokens"], [ids["tokens"]]):
        same = client.embeddings.create(model="tiny", input=tokens)
        assert same.data[0].embedding == pytest.approx(expected[0], abs=1e-6)
    short = client.embeddings.create(model="tiny", input=texts[0], dimensions=4)
    assert len(short.data[0].embedding) == 4


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"input": ""}, "input must not be empty"),
        ({"input": []}, "input must not be empty"),
        ({"input": ["a", ""]}, "input must not be empty"),
        ({"input": {"a": 1}}, "input must be a string"),
        ({"input": ["a", True]}, "input must be a string"),
        ({"input": [[0, True]]}, "input must be a string"),
        ({"input": [0, 19]}, "input holds tokens that this model does not have"),
        ({"input": "xyz"}, "vocabulary lacks"),
        ({"input": "a" * 97}, "the input length exceeds the context length"),
        ({"input": ["a"] * 513}, "513 inputs are too many"),
        ({"dimensions": 0}, "dimensions must be from 1 to 32"),
        ({"dimensions": 33}, "dimensions must be from 1 to 32"),
        ({"encoding_format": "int8"}, "encoding_format must be float or base64"),
        ({"model": "digits"}, "does not support embeddings"),
        ({"model": ""}, "model is required"),
    ],
)
def test_embeddings_that_are_refused(client: openai.OpenAI, asked: dict, text: str) -> None:
    with pytest.raises(openai.BadRequestError, match=text):
        client.embeddings.create(**{"model": "tiny", "input": "a"} | asked)


def test_json(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="json", messages=TURNS, seed=1, response_format={"type": "json_object"}, max_tokens=9
    )
    assert answer.choices[0].message.content.startswith("{")


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({"model": "nobody"}, openai.NotFoundError, "model 'nobody' not found"),
        ({"messages": []}, openai.BadRequestError, "is too short"),
        ({"response_format": {"type": "xml"}}, openai.BadRequestError, "response_format"),
        ({"n": 129}, openai.BadRequestError, "n=129 is too many"),
        ({"top_logprobs": 2}, openai.BadRequestError, "top_logprobs needs logprobs"),
        ({"tools": [{"type": "function"}]}, openai.BadRequestError, "tools is not supported"),
        ({"max_tokens": -2}, openai.BadRequestError, "at least 1, or -1 for no limit"),
        (
            {"max_completion_tokens": 0},
            openai.BadRequestError,
            "max_completion_tokens must be at least 1, or -1 for no limit",
        ),
        (
            {"max_completion_tokens": 9, "max_tokens": 9},
            openai.BadRequestError,
            "are one limit; leave max_tokens out",
        ),
        (
            {"max_completion_tokens": 0, "max_tokens": 0},
            openai.BadRequestError,
            "are one limit; leave max_tokens out",
        ),
        ({"tool_choice": "required"}, openai.BadRequestError, "tool_choice is not supported"),
        ({"functions": [{"name": "a"}]}, openai.BadRequestError, "functions is not supported"),
        ({"reasoning_effort": "low"}, openai.BadRequestError, "reasoning_effort is not supported"),
        ({"modalities": ["text", "audio"]}, openai.BadRequestError, "modalities is not"),
        ({"store": True}, openai.BadRequestError, "store is not supported"),
        (
            {"messages": [*TURNS, {"role": "tool", "tool_call_id": "a", "content": "b"}]},
            openai.BadRequestError,
            "messages.1: the role is 'tool'",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}, *TURNS]},
            openai.BadRequestError,
            "tool_calls is not supported",
        ),
        ({"model": "digits"}, openai.BadRequestError, "does not support generate"),
        ({"model": "broken"}, openai.InternalServerError, "damaged"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            openai.BadRequestError,
            "only text",
        ),
        ({"stop": {"a": 1}}, openai.BadRequestError, "must be of type array"),
        (
            {"messages": [{"role": "user", "content": "xyz"}], "stream": True},
            openai.BadRequestError,
            "vocabulary",
        ),
    ],
)
def test_errors(client: openai.OpenAI, asked: dict, error: type, text: str) -> None:
    with pytest.raises(error, match=text) as found:
        client.chat.completions.create(**{"model": "tiny", "messages": TURNS} | asked)
    assert found.value.body["type"] in ("invalid_request_error", "not_found_error", "api_error")


def test_asynchronously(server: Running) -> None:
    async def talk() -> None:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            asked = {"model": "tiny", "messages": TURNS, "max_tokens": 9, "seed": 7}
            whole = await client.chat.completions.create(**asked)
            stream = await client.chat.completions.create(**asked, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            assert text == whole.choices[0].message.content

    asyncio.run(talk())
