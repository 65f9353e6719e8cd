"""The bytes themselves: golden streams, statuses, headers, plain-text answers."""

import base64
import io
import json
import re
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image

from inference import load
from tests.serving.conftest import Running

GENERATE = {"model": "tiny", "prompt": "the cat", "options": {"num_predict": 3, "seed": 3}}
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "the cat"}]}


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def _masked(text: str) -> str:
    """Times and durations differ from run to run; their form does not."""
    text = re.sub(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"', '"TIME"', text)
    return re.sub(r'(_duration":)\d+', r"\1N", text)


def _joined(lines: list[str], field: str) -> tuple[list[str], str]:
    """A stream with neighboring pieces joined: how text is cut depends on the load."""
    text = "".join(re.search(rf'"{field}":"(.*?)"', line)[1] for line in lines)  # type: ignore[index]
    shape = [re.sub(rf'"{field}":".*?"', f'"{field}":"*"', line) for line in lines]
    return list(dict.fromkeys(shape)), text


def test_golden_stream_of_generate(http: httpx.Client) -> None:
    answer = http.post("/api/generate", content=json.dumps(GENERATE))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "content-length" not in answer.headers
    lines = answer.text.split("\n")
    assert lines.pop() == ""
    shape, text = _joined([_masked(line) for line in lines], "response")
    assert shape == [
        '{"model":"tiny","created_at":"TIME","response":"*","done":false}',
        '{"model":"tiny","created_at":"TIME","response":"*","done":true,"done_reason":"length",'
        f'"context":{json.dumps(json.loads(lines[-1])["context"], separators=(",", ":"))},'
        '"total_duration":N,"load_duration":N,"prompt_eval_count":7,"prompt_eval_duration":N,'
        '"eval_count":3,"eval_duration":N}',
    ]
    assert json.loads(lines[-1])["response"] == ""
    whole = http.post("/api/generate", json=GENERATE | {"stream": False})
    assert whole.headers["content-type"].startswith("application/json")
    assert _masked(whole.text) == shape[1].replace("*", text)


def test_golden_stream_of_chat(http: httpx.Client) -> None:
    asked = CHAT | {"options": GENERATE["options"]}
    lines = http.post("/api/chat", json=asked).text.splitlines()
    shape, text = _joined([_masked(line) for line in lines], "content")
    head = '{"model":"tiny","created_at":"TIME","message":{"role":"assistant","content":"*"},'
    end = (
        '"done":true,"done_reason":"length","total_duration":N,"load_duration":N,'
        '"prompt_eval_count":7,"prompt_eval_duration":N,"eval_count":3,"eval_duration":N}'
    )
    assert shape == [head + '"done":false}', head + end]
    whole = http.post("/api/chat", json=asked | {"stream": False})
    assert _masked(whole.text) == (head + end).replace("*", text)


def test_golden_stream_of_openai(http: httpx.Client) -> None:
    asked = CHAT | {"max_tokens": 3, "seed": 3, "stream": True}
    answer = http.post("/v1/chat/completions", json=asked)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["choices"][0] == {
        "index": 0,
        "delta": {},
        "finish_reason": "length",
        "logprobs": None,
    }


def test_loading_is_one_object_even_when_streaming(http: httpx.Client) -> None:
    answer = http.post("/api/generate", json={"model": "tiny"})
    assert answer.headers["content-type"].startswith("application/json")
    assert _masked(answer.text) == (
        '{"model":"tiny","created_at":"TIME","response":"","done":true,"done_reason":"load"}'
    )
    answer = http.post("/api/chat", json={"model": "tiny", "messages": []})
    assert _masked(answer.text) == (
        '{"model":"tiny","created_at":"TIME","message":{"role":"assistant","content":""},'
        '"done":true,"done_reason":"load"}'
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/api/generate", b"", 400, "missing request body"),
        ("/api/generate", b"{", 400, "invalid JSON: "),
        ("/api/generate", b"[1]", 400, "the body is not a JSON object"),
        ("/api/generate", b"[" * 100_000, 400, "the JSON has more than 64 brackets in one another"),
        (
            "/api/generate",
            b'{"model":"tiny","prompt":"\\ud800","format":' + b"[" * 900 + b"]" * 900 + b"}",
            400,
            "",
        ),
        ("/api/generate", b'{"model":"tiny","prompt":"a"}' + b" " * (8 << 20), 413, "8,388,608"),
        ("/api/generate", b'{"model":NaN}', 400, "NaN is not JSON"),
        ("/api/generate", b'{"model":1}', 400, "model: Input should be a valid string"),
        ("/api/generate", b'{"stream":"yes"}', 400, "stream: Input should be a valid boolean"),
        ("/api/generate", b"{}", 404, "model '' not found"),
        ("/api/chat", b"{}", 400, "model is required"),
        ("/api/show", b"{}", 400, "model is required"),
        ("/api/embed", b'{"model":"tiny","input":3}', 400, "invalid input type"),
        ("/api/embed", b'{"model":"tiny","input":[""]}', 400, "empty text"),
        ("/api/chat", b'{"model":"tiny","messages":[3]}', 400, "messages.0: Input should be"),
        (
            "/api/generate",
            b'{"model":"tiny","prompt":"a","format":"xml"}',
            400,
            'invalid format: "xml"; expected "json" or a valid JSON Schema object',
        ),
        (
            "/api/chat",
            b'{"model":"tiny","top_logprobs":21}',
            400,
            "top_logprobs must be between 0 and 20",
        ),
        ("/api/classify", b'{"model":"tiny","images":["YQ=="]}', 400, "does not support classify"),
        ("/api/classify", b'{"model":"digits","images":[]}', 400, "images is required"),
    ],
)
def test_errors(http: httpx.Client, path: str, body: bytes, status: int, text: str) -> None:
    answer = http.post(path, content=body, headers={"content-type": "text/plain"})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/json")
    assert list(answer.json()) == ["error"]
    assert text in answer.json()["error"]


def test_plain_answers(http: httpx.Client) -> None:
    assert (http.get("/").text, http.head("/").status_code) == ("Ollama is running", 200)
    assert http.get("/api/version").json() == {"version": "0.33.0"}
    assert http.head("/api/version").status_code == http.head("/api/tags").status_code == 200
    nowhere, wrong = http.get("/api/nothing"), http.get("/api/generate")
    assert (nowhere.status_code, nowhere.text) == (404, "404 page not found")
    assert (wrong.status_code, wrong.text) == (405, "405 method not allowed")
    assert wrong.headers["content-type"].startswith("text/plain")
    assert http.get("/healthz").json() == {"status": "ok"}


def test_a_hostile_history_is_answered_soon(http: httpx.Client) -> None:
    turns = [{"role": ("user", "assistant")[n % 2], "content": "a"} for n in range(10_000)]
    asked = CHAT | {"messages": turns, "stream": False, "options": {"num_predict": 1}}
    began = time.monotonic()
    answer = http.post("/api/chat", json=asked)
    assert answer.status_code == 200
    assert answer.json()["prompt_eval_count"] == 96
    assert time.monotonic() - began < 5


def test_bytes_that_are_no_utf8_and_half_characters_are_replaced(http: httpx.Client) -> None:
    for prompt in (b"\xff", b"\\ud83d"):
        body = b'{"model":"tiny","prompt":"' + prompt + b'"}'
        answer = http.post("/api/generate", content=body)
        assert answer.status_code == 400
        assert "lacks '\ufffd'" in answer.json()["error"]


def test_numbers_are_taken_as_ollama_takes_them(http: httpx.Client) -> None:
    def text(**options) -> str:
        asked = GENERATE | {"stream": False, "options": {"num_predict": 20, "seed": 3} | options}
        return http.post("/api/generate", json=asked).json()["response"]

    assert text(num_predict=20.0, seed=3.0) == text()
    assert text(temperature=0) == text(temperature=-1) == text(top_k=1) == text(top_p=0)
    assert text(temperature=0) != text()
    assert text(nothing_like_it=1, num_gpu=1, top_k=None) == text()
    assert len(text(num_predict=10**15)) == 960  # ten contexts
    huge = b'{"model":"tiny","prompt":"a","options":{"temperature":1e999}}'
    assert http.post("/api/generate", content=huge).status_code == 400


def test_metrics_and_pages(http: httpx.Client) -> None:
    http.post("/api/generate", json=GENERATE)
    text = http.get("/metrics").text
    assert re.search(r'requests_total\{method="POST",route="/api/generate",status="200"\} \d', text)
    assert re.search(r'tokens_total\{kind="generated",model="tiny"\} [1-9]', text)
    assert 'gpu_learning_active_requests{model="tiny"}' in text
    assert re.search(r"gpu_learning_in_flight [1-9]", text)
    assert re.search(r'first_token_seconds_bucket\{le="\+Inf",model="tiny"\} [1-9]', text)
    page, document = http.get("/docs").text, http.get("/openapi.json").json()
    assert "/api/generate" in page
    assert not re.search(r"https?://", page)
    for path in ("/api/generate", "/api/chat", "/v1/chat/completions", "/api/classify"):
        assert path in document["paths"]
    for path in ("/v1/responses", "/v1/embeddings", "/v1/messages", "/tokenize", "/api/copy"):
        assert path in document["paths"]
    schema = document["paths"]["/api/chat"]["post"]["requestBody"]["content"]["application/json"]
    assert schema["schema"]["$ref"] == "#/components/schemas/ChatRequest"
    assert "messages" in document["components"]["schemas"]["ChatRequest"]["properties"]


def _picture(seed: int) -> bytes:
    pixels = np.zeros((40, 40), dtype=np.uint8)
    pixels[5:30, 10 + seed : 20 + seed] = 200
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def test_pictures_are_classified(http: httpx.Client, server: Running) -> None:
    pictures = [_picture(seed) for seed in range(3)]
    expected = [load(server.models / "digits").predict(picture) for picture in pictures]  # type: ignore[union-attr]
    images = [base64.b64encode(picture).decode() for picture in pictures]
    letters = images[1]
    written = (
        "\n".join(letters[at : at + 76] for at in range(0, len(letters), 76)) + "\n",
        letters.replace("/", "_").replace("+", "-").rstrip("="),
        f"DATA:image/png;base64,{letters}",
    )
    as_written = http.post("/api/classify", json={"model": "digits", "images": written}).json()
    assert [one["label"] for one in as_written["results"]] == [expected[1].label] * 3
    images[1:1] = ["no base64!", base64.b64encode(b"no picture").decode()]
    images[-1] = f"data:image/png;base64,{images[-1]}"
    answer = http.post("/api/classify", json={"model": "digits", "images": images}).json()
    assert answer["model"] == "digits"
    assert answer["total_duration"] > 0
    results = answer["results"]
    assert results.pop(1) == {"error": "the picture is not base64"}
    assert "not an image that can be read" in results.pop(1)["error"]
    for result, prediction in zip(results, expected, strict=True):
        assert result["label"] == prediction.label == str(result["digit"])
        assert result["confidence"] == pytest.approx(prediction.confidence, abs=1e-5)
        assert sum(result["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    files = [("images", ("a.png", picture)) for picture in pictures]
    upload = http.post("/api/classify", data={"model": "digits"}, files=files).json()
    assert upload["results"] == results
    many = http.post("/api/classify", json={"model": "digits", "images": ["YQ=="] * 65})
    assert "65 images are too many" in many.json()["error"]
    headers = {"content-type": "multipart/form-data; boundary=x"}
    bad = http.post("/api/classify", content=b"--y\r\nnonsense", headers=headers)
    assert bad.status_code == 400
