"""The official ``openai`` client's responses against a server that runs."""

import json
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.serving.conftest import Running

ASKED = {"model": "tiny", "input": "the cat", "temperature": 0, "max_output_tokens": 12}


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def _continued(client: openai.OpenAI, prompt: str) -> str:
    asked = {"model": "tiny", "max_tokens": 12, "temperature": 0}
    return client.completions.create(prompt=prompt, **asked).choices[0].text


def test_a_text(client: openai.OpenAI) -> None:
    answer = client.responses.create(**ASKED, metadata={"a": "b"})
    assert answer.output_text == _continued(client, "the cat")
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (7, 12, 19)
    assert (answer.temperature, answer.max_output_tokens, answer.model) == (0, 12, "tiny")
    assert (answer.metadata, answer.error, answer.tools) == ({"a": "b"}, None, [])
    # Nothing that the package expects is missing.
    assert type(answer).model_validate(answer.model_dump()) == answer


def test_messages(client: openai.OpenAI) -> None:
    items = [
        {"role": "user", "content": "the cat "},
        {
            "type": "message",
            "role": "assistant",
            "id": "msg_1",
            "status": "completed",
            "content": [{"type": "output_text", "text": "sat. ", "annotations": []}],
        },
        {"role": "developer", "content": [{"type": "input_text", "text": "on "}]},
        {"role": "user", "content": [{"type": "input_text", "text": "the mat"}]},
    ]
    answer = client.responses.create(**ASKED | {"input": items}, instructions="a cat. ")
    assert answer.usage.input_tokens == len("a cat. the cat sat. on the mat")
    assert answer.output_text == _continued(client, "a cat. the cat sat. on the mat")
    assert answer.instructions == "a cat. "
    again = client.responses.create(**ASKED | {"input": [items[0], *answer.output]})
    assert again.usage.input_tokens == len("the cat ") + 12


def test_a_stream(client: openai.OpenAI) -> None:
    whole = client.responses.create(**ASKED)
    events = list(client.responses.create(**ASKED, stream=True))
    names = [event.type for event in events]
    assert list(dict.fromkeys(names)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(pieces) == events[-4].text == events[-1].response.output_text
    assert events[-1].response.output_text == whole.output_text
    assert events[-1].response.usage == whole.usage
    assert events[0].response.status == "in_progress"
    assert len({event.item_id for event in events if hasattr(event, "item_id")}) == 1
    with client.responses.stream(**ASKED) as stream:
        assert set(names) == {event.type for event in stream}


def test_a_text_that_ends(client: openai.OpenAI) -> None:
    told = {"type": "boolean"}
    schema = {"type": "object", "properties": {"tame": told}, "required": ["tame"]}
    asked = {
        "type": "json_schema",
        "name": "cat",
        "schema": {**schema, "additionalProperties": False},
    }
    answer = client.responses.create(
        model="json", input="the cat", text={"format": asked}, max_output_tokens=300
    )
    assert answer.status == "completed"
    assert answer.incomplete_details is None
    assert json.loads(answer.output_text)["tame"] in (True, False)


def test_what_is_longer_than_the_context(client: openai.OpenAI) -> None:
    items = [{"role": "user", "content": "the cat sat. " * 5}] * 2
    with pytest.raises(openai.BadRequestError, match="input length exceeds the context length"):
        client.responses.create(**ASKED | {"input": items})
    cut = client.responses.create(**ASKED | {"input": items}, truncation="auto")
    assert cut.usage.input_tokens == 65


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id is not supported"),
        ({"conversation": "conv_1"}, "conversation is not supported"),
        ({"store": True}, "store is not supported"),
        ({"background": True}, "background is not supported"),
        ({"tools": [{"type": "web_search"}]}, "tools is not supported"),
        ({"tool_choice": "required"}, "tool_choice is not supported"),
        ({"reasoning": {"effort": "high"}}, "reasoning is not supported"),
        ({"include": ["message.output_text.logprobs"]}, "include is not supported"),
        ({"truncation": "middle"}, "truncation is not supported"),
        (
            {"text": {"format": {"type": "json_schema", "name": "a"}}},
            "text.format of type json_schema needs a schema",
        ),
        ({"text": {"verbosity": "low"}}, "text.verbosity is not supported"),
        ({"input": []}, "input must be a string or a list of messages"),
        ({"input": [{"type": "function_call_output"}]}, "input.0 is an item of type"),
        ({"input": [{"type": "item_reference", "id": "a"}]}, "'item_reference'; only messages"),
        ({"input": ["a"]}, "input.0 is no message"),
        ({"input": [{"role": "critic", "content": "a"}]}, "the role is 'critic'"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "a"}]}]},
            "type 'input_image'; only text is supported",
        ),
        ({"max_output_tokens": 0}, "max_output_tokens must be at least 1"),
        ({"input": "xyz", "stream": True}, "vocabulary lacks"),
        ({"model": "digits"}, "does not support generate"),
    ],
)
def test_what_is_refused(client: openai.OpenAI, asked: dict, text: str) -> None:
    with pytest.raises(openai.BadRequestError, match=text) as error:
        client.responses.create(**ASKED | asked)
    assert error.value.body["type"] == "invalid_request_error"


def test_the_bytes_of_a_stream(server: Running) -> None:
    answer = httpx.post(f"{server.url}/v1/responses", json=ASKED | {"stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, rest = answer.text.split("\n\n")
    assert rest == ""
    for event in events:
        name, data = event.split("\n")
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]
