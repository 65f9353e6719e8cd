"""The time that every parser of input takes grows with the input, not with its square.

Twice the input may take 2.6 times as long: 2 and what the machine's other work costs. Two doublings
are measured at once: a cache that the larger input no longer fits is then paid for once in two.
"""

import gc
import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from datamodules import CharTokenizer
from datamodules.pairs import read_pairs
from inference.text.templates import BRACES
from inference.text.text_stream import TextStream
from inference.text.tokenizer import Tokenizer
from serving.errors import ApiError
from serving.forms import read_form
from serving.ollama.classify_routes import _decoded
from serving.options import sampling_options
from serving.settings import Settings
from serving.template import Template
from serving.wire import read_json
from training.parser import _load_bounded

WIDE = Settings(Path(), max_options=10**9, max_stops=10**9, max_stop=10**9)
ROUNDS = 7
# What is done sooner holds nobody up, and is measured by how caches are filled.
SHORTEST = 0.004
# glibc asks the kernel for each block larger than the largest that was freed, up to 32 MiB: pages,
# and the time that the kernel takes for them, would be counted for the larger input alone.
BLOCK = 31 << 20
FORM = "multipart/form-data; boundary="


def _seconds(parse: Callable[[Any], Any], inputs: list[Any]) -> float:
    """Of one input after the other; what they are parsed into is all there at the end."""
    parsed = []
    began = time.thread_time()
    for one in inputs:
        with suppress(ApiError, ValueError):
            parsed.append(parse(one))
    return time.thread_time() - began


def _growth(parse: Callable[[Any], Any], make: Callable[[int], Any], size: int) -> float:
    """How much longer twice the input takes, from ``size / 2`` to ``2 * size``: fastest of several.

    Four small inputs have the memory of the large one, and what the kernel takes for its pages.
    Measured up to ten times: another process may have the caches for a while.
    """
    small, large = [make(size // 2) for _ in range(4)], [make(2 * size)]
    bytes(BLOCK)
    _seconds(parse, small)
    growth = math.inf
    gc.disable()
    try:
        for _ in range(10):
            pairs = [(_seconds(parse, small) / 4, _seconds(parse, large)) for _ in range(ROUNDS)]
            short, long = (min(seconds) for seconds in zip(*pairs, strict=True))
            growth = min(growth, math.sqrt(long / max(short, SHORTEST)))
            if growth < 2.6:
                break
            time.sleep(0.2)
    finally:
        gc.enable()
    return growth


def _repeated(piece: Any) -> Callable[[int], Any]:
    return lambda size: piece * (size // len(piece))


@pytest.mark.parametrize(
    "piece",
    [
        *("{{", "{{ ", " ", "}}", "{{ .Prompt }}", BRACES, "{{ if .System }}", "\n", '{{ "'),
        *("{{ if .System }}a{{ else }}b{{ end }}", "{{ if .System }}{{ end }}"),
    ],
)
def test_templates(piece: str) -> None:
    assert _growth(Template, lambda size: "{{" + _repeated(piece)(size), 1 << 18) < 2.6
    assert _growth(Template, _repeated(piece), 1 << 18) < 2.6


@pytest.mark.parametrize(
    "roles",
    [("user",), ("user", "assistant"), ("system", "user"), ("user", "system"), ("assistant",)],
)
def test_conversations(roles: tuple[str, ...]) -> None:
    template = Template("{{ if .System }}{{ .System }}\n{{ end }}Q: {{ .Prompt }}\nA:")

    def turns(size: int) -> list[tuple[str, str]]:
        return [(roles[number % len(roles)], "a") for number in range(size)]

    assert _growth(lambda messages: template.conversation(messages, 10**9), turns, 10_000) < 2.6


@pytest.mark.parametrize(
    ("start", "piece", "end", "size"),
    [
        # Up to the limit of bytes, refused before or after they are counted.
        *(("", piece, "", 4 << 20) for piece in ("[", "{", '"', "]", "[],", '"a":1,', "1", " ")),
        *(('"', piece, '"', 2 << 20) for piece in ("\\", '\\"', "\\\\", "a", "\xff", "\\ud800")),
        *(("0.", "1", "", 4 << 20), ("1e", "1", "", 4 << 20)),
        # Up to the limit of values.
        *(
            ("[", "1,", "1]", 90_000),
            ("[", "[],", "1]", 70_000),
            ("[", '"\\ud800",', "1]", 200_000),
        ),
        ("{", '"a":1,', '"a":1}', 270_000),
    ],
)
def test_json(start: str, piece: str, end: str, size: int) -> None:
    def make(size: int) -> bytes:
        return f"{start}{_repeated(piece)(size)}{end}".encode("latin-1")

    assert _growth(lambda body: read_json(body, Settings(Path())), make, size) < 2.6


def test_ndjson(tmp_path: Path) -> None:
    def make(size: int) -> Path:
        path = tmp_path / f"{size}.jsonl"
        row = json.dumps({"question": "a", "answer": "b"})
        path.write_text(f"{row}\n" * size)
        return path

    assert _growth(lambda path: list(read_pairs(path)), make, 5_000) < 2.6


@pytest.mark.parametrize("piece", ["YWFh", "=", "data:", ",", "\xe4", "\n"])
def test_base64(piece: str) -> None:
    assert _growth(_decoded, _repeated(piece), 1 << 22) < 2.6
    assert _growth(_decoded, lambda size: "data:," + _repeated(piece)(size), 1 << 22) < 2.6


@pytest.mark.parametrize(
    ("boundary", "piece"),
    [
        *(("x", b"--x\r\n"), ("x", b"\r\n--x"), ("x", b"\r\n--"), ("x", b"a: b\r\n")),
        *(
            ("-" * 70, b"-"),
            ("-" * 70, b"\r\n" + b"-" * 71),
            ("-" * 70, b"\r\n--" + b"-" * 69 + b"a"),
        ),
        ("x", b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\na\r\n'),
    ],
)
def test_multipart(boundary: str, piece: bytes) -> None:
    kind = FORM + boundary
    assert _growth(lambda body: read_form(kind, body, 64), _repeated(piece), 1 << 22) < 2.6
    assert _growth(lambda body: read_form(kind, body, 10**9), _repeated(piece), 1 << 19) < 2.6


@pytest.mark.parametrize("piece", ["boundary=", 'boundary="', ";", " "])
def test_content_types(piece: str) -> None:
    assert _growth(lambda kind: read_form(kind, b"", 64), _repeated(piece), 1 << 22) < 2.6


def test_options() -> None:
    def unknown(size: int) -> dict[str, int]:
        return {f"option{number}": number for number in range(size)}

    def stops(size: int) -> dict[str, list[str]]:
        return {"stop": ["a" * 16] * size}

    assert _growth(lambda given: sampling_options(given, 64, WIDE), unknown, 20_000) < 2.6
    assert _growth(lambda given: sampling_options(given, 64, WIDE), stops, 20_000) < 2.6


@pytest.mark.parametrize(("stop", "text"), [("a", "a"), ("ab", "ab"), ("ab", "a"), ("aab", "aab")])
def test_stop_strings(stop: str, text: str) -> None:
    tokenizer = Tokenizer(CharTokenizer("abc").to_json())

    def run(size: int) -> None:
        stream = TextStream(tokenizer, [stop * (size // len(stop)) + "c"] * 4)
        for character in text * (4 * size // len(text)):
            stream.push("abc".index(character))

    assert _growth(run, lambda size: size, 1024) < 2.6


@pytest.mark.parametrize(
    "make",
    [
        lambda size: "a: [" + "1, " * size + "1]",
        lambda size: "".join(f"a{number}: b\n" for number in range(size)),
        lambda size: "a: &a [1]\nb: [" + "*a, " * size + "*a]",
        lambda size: "a: " + "'" * size,
        lambda size: "a: " + " " * size + "b",
        lambda size: "a: |\n" + "  b\n" * size,
        lambda size: "a:\n" + "- b\n" * size,
        lambda size: "a: {<<: [" + ", ".join("{b: 1}" for _ in range(size)) + "]}",
    ],
)
def test_yaml(make: Callable[[int], str]) -> None:
    assert _growth(_load_bounded, make, 3000) < 2.6
