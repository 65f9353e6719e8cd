"""The official ``openai`` client, sync and async, against a server that runs."""

import asyncio
from collections.abc import Iterator

import openai
import pytest

from tests.serving.conftest import Running

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
        ({"response_format": {"type": "json_schema"}}, openai.BadRequestError, "response_format"),
        ({"n": 2}, openai.BadRequestError, "n is not supported"),
        ({"logprobs": True}, openai.BadRequestError, "logprobs is not supported"),
        ({"tools": [{"type": "function"}]}, openai.BadRequestError, "tools is not supported"),
        ({"max_tokens": 0}, openai.BadRequestError, "at least 1"),
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
