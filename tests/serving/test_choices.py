"""Several answers of one request: ``n``, lists of prompts; biases; and what is refused of them."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.serving.conftest import CHARACTERS, Running, serving, until

VOCABULARY = "".join(sorted(CHARACTERS))
TURNS = [{"role": "user", "content": "the cat"}]
ASKED = {"model": "tiny", "prompt": "the cat", "max_tokens": 9, "seed": 7}


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def _alone(client: openai.OpenAI, **changes: Any) -> str:
    return client.completions.create(**ASKED | changes).choices[0].text


def test_n_answers_have_seeds_in_a_row(client: openai.OpenAI) -> None:
    answer = client.completions.create(**ASKED, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    texts = [choice.text for choice in answer.choices]
    assert texts == [_alone(client, seed=seed) for seed in (7, 8, 9)]
    assert len(set(texts)) == 3
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (7, 27, 34)
    unseeded = client.completions.create(**ASKED | {"seed": None}, n=4)
    assert len({choice.text for choice in unseeded.choices}) == 4
    both = client.completions.create(**ASKED, n=2, best_of=2)
    assert [choice.text for choice in both.choices] == texts[:2]


def test_each_prompt_of_a_list_has_n_answers(client: openai.OpenAI) -> None:
    prompts = ["the cat", "a dog", "t"]
    answer = client.completions.create(**ASKED | {"prompt": prompts}, n=2)
    assert [choice.index for choice in answer.choices] == list(range(6))
    expected = [_alone(client, prompt=one, seed=seed) for one in prompts for seed in (7, 8)]
    assert [choice.text for choice in answer.choices] == expected
    assert answer.usage.prompt_tokens == 7 + 5 + 1
    assert answer.usage.completion_tokens == 6 * 9


def test_prompts_of_token_numbers(client: openai.OpenAI) -> None:
    ids = [VOCABULARY.index(letter) for letter in "the cat"]
    assert _alone(client, prompt=ids) == _alone(client)
    answer = client.completions.create(**ASKED | {"prompt": [ids, ids[:3]]}, echo=True)
    texts = [choice.text for choice in answer.choices]
    assert texts == ["the cat" + _alone(client), "the" + _alone(client, prompt="the")]
    assert _alone(client, prompt=["the cat"]) == _alone(client)


def test_a_stream_of_several(client: openai.OpenAI) -> None:
    asked = ASKED | {"prompt": ["the cat", "a dog"], "n": 2, "logprobs": 1}
    whole = client.completions.create(**asked)
    texts, scores, ends = [""] * 4, [[] for _ in range(4)], {}
    *chunks, last = client.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    for chunk in chunks:
        (choice,) = chunk.choices
        assert choice.index not in ends
        texts[choice.index] += choice.text
        scores[choice.index] += choice.logprobs.token_logprobs
        if choice.finish_reason:
            ends[choice.index] = choice.finish_reason
    assert texts == [choice.text for choice in whole.choices]
    assert scores == [choice.logprobs.token_logprobs for choice in whole.choices]
    assert ends == dict.fromkeys(range(4), "length")
    assert last.usage == whole.usage


def test_a_chat_has_n_answers(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "messages": TURNS, "max_tokens": 9, "seed": 7, "n": 3}
    whole = client.chat.completions.create(**asked)
    expected = [_alone(client, seed=seed) for seed in (7, 8, 9)]
    assert [choice.message.content for choice in whole.choices] == expected
    roles, texts = [0] * 3, [""] * 3
    for chunk in client.chat.completions.create(**asked, stream=True):
        (choice,) = chunk.choices
        roles[choice.index] += choice.delta.role == "assistant"
        texts[choice.index] += choice.delta.content or ""
    assert (roles, texts) == ([1, 1, 1], expected)


def test_a_bias_names_tokens_by_number_or_as_a_text(client: openai.OpenAI) -> None:
    letter = VOCABULARY.index("g")
    for name in (str(letter), "g"):
        assert _alone(client, logit_bias={name: 100}) == "g" * 9
    plain = client.completions.create(**ASKED | {"max_tokens": 80}).choices[0].text
    assert "t" in plain
    without = _alone(client, logit_bias={"t": -100.0}, max_tokens=80)
    assert "t" not in without
    chat = client.chat.completions.create(
        model="tiny", messages=TURNS, max_tokens=5, logit_bias={letter: 100}
    )
    assert chat.choices[0].message.content == "ggggg"
    assert _alone(client, logit_bias={}) == _alone(client)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"n": -1}, "n must be at least 1"),
        ({"n": 129}, "n=129 is too many; 128 answers of one request are made"),
        ({"n": 65, "prompt": ["a", "t"]}, "n=65 of 2 prompts is too many; 128 answers"),
        ({"best_of": 2}, "best_of is not supported by this server; leave it out"),
        ({"logprobs": 21}, "logprobs must be from 0 to 20"),
        ({"logprobs": -1}, "logprobs must be from 0 to 20"),
        ({"max_tokens": 0}, "at least 1"),
        ({"prompt": []}, "prompt must be a string, token numbers, or a list of either"),
        ({"prompt": [[]]}, "prompt must be a string"),
        ({"prompt": [1.5]}, "prompt must be a string"),
        ({"prompt": [True]}, "prompt must be a string"),
        ({"prompt": None}, "prompt must be a string"),
        ({"prompt": [1, "a"]}, "prompt must be a string"),
        ({"prompt": [1, 99]}, "prompt holds tokens that this model does not have"),
        ({"prompt": [-1]}, "prompt holds tokens that this model"),
        ({"prompt": ["the cat", "xyz"]}, "vocabulary lacks"),
        ({"logit_bias": {"19": 1}}, "logit_bias names token 19; this model's are 0 to 18"),
        ({"logit_bias": {"-1": 1}}, "logit_bias names token -1"),
        ({"logit_bias": {"the": 1}}, 'logit_bias: "the" is not one token of this model'),
        ({"logit_bias": {"x": 1}}, "vocabulary lacks"),
        ({"logit_bias": {"--1": 1}}, "vocabulary lacks '-' '1'"),
        ({"logit_bias": {"": 1}}, 'logit_bias: "" is not one token of this model'),
        ({"logit_bias": {"9" * 30: 1}}, "vocabulary lacks '9'"),
        ({"logit_bias": {"1": 101}}, 'the bias of "1" must be a number from -100 to 100'),
        ({"logit_bias": {"1": True}}, 'the bias of "1" must be a number'),
        ({"logit_bias": {"1": "a"}}, 'the bias of "1" must be a number'),
        ({"logit_bias": {"1": 10**400}}, 'the bias of "1" must be a number'),
        ({"logit_bias": dict.fromkeys(map(str, range(1025)), 1)}, "logit_bias has 1,025 tokens"),
    ],
)
def test_what_is_refused(http: httpx.Client, changes: dict, text: str) -> None:
    for stream in (False, True):
        answer = http.post("/v1/completions", json=ASKED | changes | {"stream": stream})
        assert answer.status_code == 400
        assert text in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"n": 129}, "n=129 is too many"),
        ({"top_logprobs": 3}, "top_logprobs needs logprobs to be true"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs must be from 0 to 20"),
        ({"logit_bias": {"19": 1}}, "logit_bias names token 19"),
    ],
)
def test_what_is_refused_of_a_chat(http: httpx.Client, changes: dict, text: str) -> None:
    asked = {"model": "tiny", "messages": TURNS, "max_tokens": 3}
    answer = http.post("/v1/chat/completions", json=asked | changes)
    assert (answer.status_code, text in answer.json()["error"]["message"]) == (400, True)


def test_many_answers_are_all_made_or_none(models: Path) -> None:
    with serving(models, slots=2, max_queue=3) as server, httpx.Client(base_url=server.url) as http:
        assert len(http.post("/v1/completions", json=ASKED | {"n": 5}).json()["choices"]) == 5
        answer = http.post("/v1/completions", json=ASKED | {"n": 64, "max_tokens": 5000})
        assert (answer.status_code, "server busy" in answer.text) == (503, True)
        batcher = server.server.app.state.server.registry.running()[0].batcher
        until(lambda: (batcher.active, batcher.waiting) == (0, 0))


def test_a_client_that_goes_away_frees_all_its_slots(models: Path) -> None:
    with serving(models, slots=4) as server:
        body = json.dumps(ASKED | {"n": 6, "max_tokens": 5000, "stream": True}).encode()
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert b"200" in connection.recv(300)
            batcher = server.server.app.state.server.registry.running()[0].batcher
            until(lambda: (batcher.active, batcher.waiting) == (4, 2))
        until(lambda: (batcher.active, batcher.waiting) == (0, 0))


def test_each_of_n_answers_has_a_grammar_of_its_own(client: openai.OpenAI) -> None:
    asked = {"model": "json", "messages": TURNS, "max_tokens": 30, "logprobs": True}
    asked |= {"response_format": {"type": "json_object"}}
    together = client.chat.completions.create(**asked, seed=7, n=3)
    for seed, choice in enumerate(together.choices, 7):
        (alone,) = client.chat.completions.create(**asked, seed=seed).choices
        assert choice.message.content == alone.message.content
        assert choice.message.content.startswith("{")
        text = "".join(one.token for one in choice.logprobs.content)
        assert text == choice.message.content
