"""The official ``ollama`` client, sync and async, against a server that runs."""

import asyncio
import json
import math
from collections.abc import Iterator

import ollama
import pytest

from tests.serving.conftest import Running, until

OPTIONS = {"num_predict": 10, "seed": 3}
TURNS = [
    {"role": "user", "content": "the cat"},
    {"role": "assistant", "content": " sat."},
    {"role": "user", "content": " the dog"},
]


@pytest.fixture
def client(server: Running) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.url) as client:
        yield client


def test_models_are_listed_and_shown(client: ollama.Client) -> None:
    names = [model.model for model in client.list().models]
    assert sorted(names) == [
        f"{name}:latest" for name in ("broken", "digits", "json", "talk", "tiny")
    ]
    tiny = next(model for model in client.list().models if model.model == "tiny:latest")
    assert len(tiny.digest) == 64
    assert tiny.size > 100_000
    assert (tiny.details.format, tiny.details.family) == ("safetensors", "minigpt")
    shown = client.show("tiny")
    assert shown.modelinfo["general.parameter_count"] == 27_411
    assert shown.modelinfo["minigpt.context_length"] == 96
    assert shown.capabilities == ["completion", "embedding"]
    talk = client.show("talk")
    assert talk.template == "{{ if .System }}{{ .System }}\n{{ end }}a: {{ .Prompt }}\nd:"
    assert talk.modelfile == f'FROM talk:latest\nTEMPLATE """{talk.template}"""\n'
    assert client.show("digits").capabilities == ["vision-classification"]


def test_text_is_generated_whole_and_in_pieces(client: ollama.Client) -> None:
    whole = client.generate("tiny", "the cat", options=OPTIONS)
    assert len(whole.response) == 10
    assert (whole.done, whole.done_reason, whole.model) == (True, "length", "tiny")
    assert (whole.prompt_eval_count, whole.eval_count) == (7, 10)
    assert whole.total_duration > whole.eval_duration > 0
    assert len(whole.context) == 17
    chunks = list(client.generate("tiny", "the cat", options=OPTIONS, stream=True))
    assert "".join(chunk.response for chunk in chunks) == whole.response
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].done_reason == "length"
    other = client.generate("tiny", "the cat", options=OPTIONS | {"seed": 4})
    assert other.response != whole.response
    # The context of an answer continues where it ended.
    on = client.generate("tiny", " a", context=whole.context, options=OPTIONS)
    again = client.generate("tiny", f"the cat{whole.response} a", options=OPTIONS)
    assert on.response == again.response
    raw = client.generate("tiny", "the cat", raw=True, options=OPTIONS)
    assert raw.response == whole.response
    assert raw.context is None


def test_a_conversation_has_its_history(client: ollama.Client) -> None:
    answer = client.chat("tiny", TURNS, options=OPTIONS)
    assert answer.message.role == "assistant"
    joined = client.generate("tiny", "the cat sat. the dog", options=OPTIONS)
    assert answer.message.content == joined.response
    chunks = list(client.chat("tiny", TURNS, options=OPTIONS, stream=True))
    assert "".join(chunk.message.content for chunk in chunks) == answer.message.content
    assert chunks[-1].done_reason == "length"
    assert chunks[-1].eval_count == 10


def test_a_model_is_asked_as_it_was_trained(client: ollama.Client) -> None:
    def plain(prompt: str) -> str:
        return client.generate("tiny", prompt, options=OPTIONS).response

    spoken = client.chat("talk", [{"role": "user", "content": "the cat"}], options=OPTIONS)
    assert spoken.message.content == plain("a: the cat\nd:")
    assert client.generate("talk", "the cat", options=OPTIONS).response == plain("a: the cat\nd:")
    assert client.generate("talk", "the cat", raw=True, options=OPTIONS).response == plain(
        "the cat"
    )
    two = client.chat("talk", TURNS, options=OPTIONS)
    assert two.message.content == plain("a: the cat\nd: sat.a:  the dog\nd:")
    led = client.generate("talk", "the cat", system="dogs", options=OPTIONS)
    assert led.response == plain("dogs\na: the cat\nd:")
    assert client.generate("tiny", "cat", system="the ", options=OPTIONS).response == plain(
        "the cat"
    )
    template = "{{ if .System }}{{ .System }} {{ end }}{{ .Prompt }}"
    given = client.generate("talk", "cat", system="the", template=template, options=OPTIONS)
    assert given.response == plain("the cat")


def test_a_long_conversation_loses_its_oldest_turns(client: ollama.Client) -> None:
    words = ["cats and dogs. ", "the end. ", "hats and mats. ", "a road to an end. "]
    turns = [
        {"role": ("user", "assistant")[n % 2], "content": word * 2} for n, word in enumerate(words)
    ]
    turns.append({"role": "user", "content": "the cat"})
    contents = [turn["content"] for turn in turns]
    kept = "".join(contents[2:])
    assert len("".join(contents[1:])) > 80 >= len(kept)
    options = OPTIONS | {"num_ctx": 80}
    answer = client.chat("tiny", turns, options=options)
    assert answer.message.content == client.generate("tiny", kept, options=options).response
    assert answer.prompt_eval_count == len(kept)


def test_stop_strings_and_penalties(client: ollama.Client) -> None:
    options = {"num_predict": 60, "seed": 1}
    text = client.generate("tiny", "the cat", options=options).response
    stop = text[20:22]
    cut = client.generate("tiny", "the cat", options=options | {"stop": [stop]})
    assert cut.response == text[: text.index(stop)]
    assert cut.done_reason == "stop"
    for name, value in (
        ("repeat_penalty", 1.8),
        ("presence_penalty", 1.5),
        ("frequency_penalty", 1.5),
        ("top_k", 1),
        ("top_p", 0.1),
        ("min_p", 0.9),
        ("temperature", 0.0),
    ):
        assert client.generate("tiny", "the cat", options=options | {name: value}).response != text
    off = options | {"repeat_penalty": 1.8, "repeat_last_n": 0}
    assert client.generate("tiny", "the cat", options=off).response == text


def test_a_text_may_outgrow_the_context_or_end_there(client: ollama.Client) -> None:
    options = {"seed": 1, "num_ctx": 20, "num_keep": 2}
    long = client.generate("tiny", "the cat", options=options | {"num_predict": 100})
    assert long.eval_count == 100
    without = client.generate("tiny", "the cat", options=options)
    assert (without.eval_count, without.done_reason) == (200, "length")  # ten contexts


def test_json_is_written_where_it_is_asked_for(client: ollama.Client) -> None:
    options = {"num_predict": 300, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    whole = 0
    for seed in range(12):
        answer = client.chat("json", TURNS, format="json", options=options | {"seed": seed})
        assert answer.message.content.startswith("{")
        if answer.done_reason == "stop":
            assert isinstance(json.loads(answer.message.content), dict)
            whole += 1
    assert whole
    free = client.chat("json", TURNS, options=options | {"seed": 0})
    assert not free.message.content.startswith("{")


def test_vectors(client: ollama.Client) -> None:
    one = client.embed("tiny", "the cat sat")
    many = client.embed("tiny", ["the cat sat", "dogs"])
    assert len(many.embeddings) == 2
    assert many.embeddings[0] == pytest.approx(one.embeddings[0], abs=1e-6)
    assert math.hypot(*one.embeddings[0]) == pytest.approx(1, abs=1e-5)
    assert (one.prompt_eval_count, many.prompt_eval_count) == (11, 15)
    short = client.embed("tiny", "the cat sat", dimensions=4).embeddings[0]
    assert len(short) == 4
    assert math.hypot(*short) == pytest.approx(1, abs=1e-5)
    assert client.embed("tiny", "").embeddings == []
    old = client.embeddings("tiny", "the cat sat").embedding
    assert old == pytest.approx(one.embeddings[0], abs=1e-6)
    cut = client.embed("tiny", "a" * 200)
    assert cut.prompt_eval_count == 96
    with pytest.raises(ollama.ResponseError, match="input length exceeds the context") as error:
        client.embed("tiny", "a" * 200, truncate=False)
    assert error.value.status_code == 400


def test_models_are_loaded_and_let_go(client: ollama.Client) -> None:
    loaded = client.generate("tiny", keep_alive="1h")
    assert (loaded.done, loaded.done_reason, loaded.response) == (True, "load", "")
    entry = next(model for model in client.ps().models if model.model == "tiny:latest")
    assert entry.context_length == 96
    assert entry.size_vram == 0
    assert client.chat("talk", [], keep_alive=-1).done_reason == "load"
    assert client.ps().models[0].model == "talk:latest"
    assert client.ps().models[0].expires_at.year > 2200
    gone = client.chat("talk", [], keep_alive=0)
    assert (gone.done_reason, gone.message.content) == ("unload", "")
    assert "talk:latest" not in [model.model for model in client.ps().models]
    # 0 with a prompt: an answer, and then it goes.
    assert client.generate("talk", "the cat", keep_alive=0).eval_count
    until(lambda: "talk:latest" not in [model.model for model in client.ps().models])
    client.generate("talk", keep_alive=0.05)
    until(lambda: "talk:latest" not in [model.model for model in client.ps().models])


@pytest.mark.parametrize(
    ("call", "status", "text"),
    [
        (lambda c: c.generate("nobody", "a"), 404, "model 'nobody' not found"),
        (lambda c: c.chat("nobody", []), 404, "model 'nobody' not found"),
        (lambda c: c.show("nobody"), 404, "model 'nobody' not found"),
        (lambda c: c.embed("nobody", "a"), 404, 'model "nobody" not found, try pulling it first'),
        (lambda c: c.generate("tiny:int8", "a"), 404, "model 'tiny:int8' not found"),
        (lambda c: c.generate("digits", "a"), 400, '"digits" does not support generate'),
        (lambda c: c.chat("digits", TURNS), 400, '"digits" does not support chat'),
        (lambda c: c.generate("tiny", "a", think=True), 400, '"tiny" does not support thinking'),
        (lambda c: c.generate("tiny", "a", suffix="b"), 400, '"tiny" does not support insert'),
        (lambda c: c.generate("tiny", "a", images=["YQ=="]), 400, "does not support vision"),
        (lambda c: c.generate("tiny", "a", format="json"), 400, "model cannot write JSON"),
        (lambda c: c.generate("tiny", "a", format={"type": "objekt"}), 400, "Invalid type: objekt"),
        (lambda c: c.generate("tiny", "xyz"), 400, "the model's vocabulary lacks 'x' 'y' 'z'"),
        (
            lambda c: c.generate("tiny", "a", raw=True, system="b"),
            400,
            "raw mode does not support template, system, or context",
        ),
        (
            lambda c: c.generate("tiny", "a", options={"top_k": "many"}),
            400,
            'option "top_k" must be of type integer',
        ),
        (
            lambda c: c.generate("tiny", "a", options={"stop": "x"}),
            400,
            'option "stop" must be of type array',
        ),
        (lambda c: c.generate("tiny", "a", options={"typical_p": 0.5}), 400, "not supported"),
        (lambda c: c.generate("tiny", "a", options={"repeat_penalty": 0}), 400, "above 0"),
        (lambda c: c.generate("tiny", "a", keep_alive="soon"), 400, "time: invalid duration"),
        (
            lambda c: c.generate("tiny", "a", template="{{ .Tools }}"),
            400,
            "does not fill in",
        ),
        (lambda c: c.generate("tiny", "a", context=[99]), 400, "context holds tokens"),
        (
            lambda c: c.generate("tiny", "a", logprobs=True, top_logprobs=21),
            400,
            "top_logprobs must be between 0 and 20",
        ),
        (lambda c: c.generate("broken", "a"), 500, "it is damaged, export the model again"),
        (lambda c: c.generate("half", "a"), 500, "it is not JSON; export the model again"),
        (lambda c: c.generate("../tiny", "a"), 404, "not found"),
        (lambda c: c.generate("tiny/../tiny", "a"), 404, "not found"),
        (lambda c: c.generate("notes.txt", "a"), 404, "not found"),
        (lambda c: c.delete("tiny"), 403, "start the server with serve --writable"),
        (lambda c: c.copy("tiny", "other"), 403, "start the server with serve --writable"),
        (lambda c: c.pull("tiny"), 404, "404 page not found"),
        (lambda c: c.generate("tiny", "a", options={"mirostat": 1}), 400, "not supported"),
        (
            lambda c: c.chat("tiny", [*TURNS, {"role": "tool", "content": "b"}]),
            400,
            "messages.3: the role is 'tool'; it must be one of system, developer, user, assistant",
        ),
        (
            lambda c: c.chat("tiny", [{"role": "assistant", "thinking": "b"}]),
            400,
            "does not support thinking",
        ),
        (
            lambda c: c.generate("tiny", "a", system="b", template="{{ .Prompt }}"),
            400,
            "the template has no {{ .System }} for the system message",
        ),
    ],
)
def test_errors(client: ollama.Client, call, status: int, text: str) -> None:
    with pytest.raises(ollama.ResponseError) as error:
        call(client)
    assert error.value.status_code == status
    assert text in error.value.error
    assert client.generate("TINY", "a", options=OPTIONS).model == "TINY"


def test_an_error_before_the_first_piece_has_its_status(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as error:
        list(client.generate("tiny", "xyz", stream=True))
    assert error.value.status_code == 400
    with pytest.raises(ollama.ResponseError) as error:
        list(client.chat("broken", TURNS, stream=True))
    assert error.value.status_code == 500


def test_a_refused_connection_is_said_by_the_client() -> None:
    with ollama.Client(host="http://127.0.0.1:9") as client, pytest.raises(ConnectionError):
        client.list()


def test_all_of_it_asynchronously(server: Running) -> None:
    async def talk() -> None:
        async with ollama.AsyncClient(host=server.url) as client:
            await all_of_it(client)

    async def all_of_it(client: ollama.AsyncClient) -> None:
        assert len((await client.list()).models) == 5
        assert (await client.show("tiny")).capabilities == ["completion", "embedding"]
        whole = await client.generate("tiny", "the cat", options=OPTIONS)
        chunks = [
            chunk.response
            async for chunk in await client.generate(
                "tiny", "the cat", options=OPTIONS, stream=True
            )
        ]
        assert "".join(chunks) == whole.response
        asked = (client.chat("tiny", TURNS, options=OPTIONS | {"seed": n}) for n in range(20))
        together = await asyncio.gather(*asked)
        for seed, answer in enumerate(together):
            alone = await client.chat("tiny", TURNS, options=OPTIONS | {"seed": seed})
            assert alone.message.content == answer.message.content
        streamed = [
            chunk.message.content
            async for chunk in await client.chat(
                "tiny", TURNS, options=OPTIONS | {"seed": 0}, stream=True
            )
        ]
        assert "".join(streamed) == together[0].message.content
        assert len((await client.embed("tiny", "the cat")).embeddings[0]) == 32
        assert (await client.ps()).models
        with pytest.raises(ollama.ResponseError, match="not found"):
            await client.chat("nobody", TURNS)

    asyncio.run(talk())
