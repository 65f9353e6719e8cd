"""The official ``anthropic`` client, sync and async, against a server that runs."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import anthropic
import httpx
import pytest

from tests.serving.conftest import Running, serving

TURNS = [{"role": "user", "content": "the cat"}]
# The package has no argument for the temperature since its version 2.
GREEDY = {"temperature": 0}
ASKED = {"model": "tiny", "messages": TURNS, "max_tokens": 12, "extra_body": GREEDY}
BODY = {"model": "tiny", "messages": TURNS, "max_tokens": 12, "temperature": 0}
KEY = "a-key-of-16-letters"


@pytest.fixture
def client(server: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


def _continued(server: Running, prompt: str) -> str:
    options = {"num_predict": 12, "temperature": 0}
    asked = {"model": "tiny", "prompt": prompt, "stream": False, "options": options}
    return httpx.post(f"{server.url}/api/generate", json=asked).json()["response"]


def test_messages(client: anthropic.Anthropic, server: Running) -> None:
    answer = client.messages.create(**ASKED)
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", "tiny")
    (block,) = answer.content
    assert block.type == "text"
    assert block.text == _continued(server, "the cat")
    assert (answer.stop_reason, answer.stop_sequence) == ("max_tokens", None)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 12)
    # Nothing that the package expects is missing.
    assert type(answer).model_validate(answer.model_dump()) == answer


def test_blocks_system_and_an_answer_that_was_begun(
    client: anthropic.Anthropic, server: Running
) -> None:
    messages = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "the "}, {"type": "text", "text": "dog"}],
        },
        {"role": "assistant", "content": " sat"},
    ]
    system = [{"type": "text", "text": "a cat. ", "cache_control": {"type": "ephemeral"}}]
    for given in (system, "a cat. "):
        answer = client.messages.create(**ASKED | {"messages": messages}, system=given)
        assert answer.content[0].text == _continued(server, "a cat. the dog sat")
        assert answer.usage.input_tokens == len("a cat. the dog sat")
    again = [*TURNS, {"role": "assistant", "content": answer.content}, *TURNS]
    assert client.messages.create(**ASKED | {"messages": again}).usage.input_tokens == 26


def test_a_stop_sequence_is_named(client: anthropic.Anthropic) -> None:
    text = client.messages.create(**ASKED).content[0].text
    stop = text[5:7]
    answer = client.messages.create(**ASKED, stop_sequences=["xyz", stop])
    assert answer.content[0].text == text[: text.index(stop)]
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", stop)
    with client.messages.stream(**ASKED, stop_sequences=[stop]) as stream:
        assert "".join(stream.text_stream) == text[: text.index(stop)]
        final = stream.get_final_message()
    assert (final.stop_reason, final.stop_sequence) == ("stop_sequence", stop)


def test_a_stream(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**ASKED)
    events = list(client.messages.create(**ASKED, stream=True))
    assert list(dict.fromkeys(event.type for event in events)) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    # The prompt is counted before the first token.
    assert events[0].message.usage.input_tokens == 7
    with client.messages.stream(**ASKED) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == whole.content[0].text
    assert (final.usage, final.stop_reason) == (whole.usage, "max_tokens")


def test_models(client: anthropic.Anthropic) -> None:
    found = {model.id: model for model in client.models.list()}
    assert found["tiny:latest"].display_name == "tiny"
    assert found["tiny:latest"].created_at.utcoffset() == timedelta(0)
    assert client.models.retrieve("tiny").type == "model"


def test_tokens_are_counted(client: anthropic.Anthropic) -> None:
    count = client.messages.count_tokens(model="tiny", messages=TURNS, system="a cat. ")
    assert count.input_tokens == 14
    long = [{"role": "user", "content": "the cat. " * 20}]
    assert client.messages.count_tokens(model="tiny", messages=long).input_tokens == 180


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({"model": "nobody"}, anthropic.NotFoundError, "model 'nobody' not found"),
        ({"model": "digits"}, anthropic.BadRequestError, "does not support generate"),
        ({"model": "broken"}, anthropic.InternalServerError, "damaged"),
        ({"messages": []}, anthropic.BadRequestError, "at least one message"),
        ({"max_tokens": 0}, anthropic.BadRequestError, "max_tokens is required"),
        ({"tools": [{"name": "a"}]}, anthropic.BadRequestError, "tools is not supported"),
        ({"thinking": {"type": "adaptive"}}, anthropic.BadRequestError, "thinking is not"),
        ({"output_config": {"effort": "low"}}, anthropic.BadRequestError, "output_config is not"),
        ({"stop_sequences": "a"}, anthropic.BadRequestError, "stop_sequences: Input should be"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            anthropic.BadRequestError,
            "type 'image'; only text is supported",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
            anthropic.BadRequestError,
            "type 'tool_result'; only text",
        ),
        (
            {"messages": [{"role": "user", "content": "a" * 97}]},
            anthropic.BadRequestError,
            "exceeds",
        ),
        ({"messages": [{"role": "user", "content": "x"}]}, anthropic.BadRequestError, "vocabulary"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors(
    client: anthropic.Anthropic, asked: dict, error: type, text: str, stream: bool
) -> None:
    with pytest.raises(error, match=text) as found:
        client.messages.create(**ASKED | asked, stream=stream)
    kinds = {400: "invalid_request_error", 404: "not_found_error", 500: "api_error"}
    body = found.value.body
    assert (body["type"], body["error"]["type"]) == ("error", kinds[found.value.status_code])


def test_its_own_header_brings_the_key(models: Path) -> None:
    with serving(models, keys=(KEY,)) as server:
        for how in ({"api_key": KEY}, {"auth_token": KEY}):
            with anthropic.Anthropic(base_url=server.url, **how) as client:
                assert client.messages.count_tokens(model="tiny", messages=TURNS).input_tokens == 7
        with (
            anthropic.Anthropic(base_url=server.url, api_key="wrong" * 4) as client,
            pytest.raises(anthropic.AuthenticationError, match="unauthorized") as error,
        ):
            client.messages.create(**ASKED)
        assert error.value.body == {
            "type": "error",
            "error": {"type": "authentication_error", "message": "unauthorized"},
        }


def test_the_bytes_of_a_stream(server: Running) -> None:
    answer = httpx.post(f"{server.url}/v1/messages", json=BODY | {"stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, rest = answer.text.split("\n\n")
    assert rest == ""
    names = []
    for event in events:
        name, data = event.split("\n")
        names.append(name.removeprefix("event: "))
        assert names[-1] == json.loads(data.removeprefix("data: "))["type"]
    assert names[:3] == ["message_start", "content_block_start", "ping"]


def test_asynchronously(server: Running) -> None:
    async def talk() -> None:
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none") as client:
            whole = await client.messages.create(**ASKED)
            async with client.messages.stream(**ASKED) as stream:
                text = "".join([piece async for piece in stream.text_stream])
            assert text == whole.content[0].text

    asyncio.run(talk())
