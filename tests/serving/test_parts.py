"""Durations, templates and options, each by itself."""

import math

import pytest

from inference.templates import as_ollama
from serving.artifact import _human
from serving.durations import seconds
from serving.errors import ApiError
from serving.options import read_options, sampling
from serving.server import listen
from serving.template import Template
from serving.wire import timestamp

ROUND = (
    "{{- if .System }}[{{ .System }}]{{ else }}(none){{ end }} Q:{{ .Prompt }} A:{{ .Response }}; "
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (0, 0),
        (90, 90),
        (1.5, 1.5),
        (-1, math.inf),
        ("-1s", math.inf),
        ("0", 0),
        ("5m", 300),
        ("1h30m", 5400),
        ("+1.5s", 1.5),
        ("300ms", 0.3),
        ("20\xb5s", 2e-5),
        (".5h", 1800),
        (10**30, math.inf),
        (10**400, math.inf),
    ],
)
def test_durations(given, expected) -> None:
    assert seconds(given) == pytest.approx(expected)


@pytest.mark.parametrize(
    "given", ["", "soon", "5", "5 m", "m", "--5m", "1h-5m", "1" * 200, True, []]
)
def test_what_is_no_duration(given) -> None:
    with pytest.raises(ApiError) as error:
        seconds(given)
    assert error.value.status == 400


def test_templates() -> None:
    turns = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c")]
    assert Template(ROUND).conversation(turns) == "[s] Q:a A:b; (none) Q:c A:"
    assert Template().conversation(turns) == "abc"
    assert Template(ROUND).conversation([("user", "a"), ("user", "b")]) == "(none) Q:a\n\nb A:"
    assert Template(ROUND).conversation([*turns[1:3], ("system", "t"), turns[3]]) == (
        "(none) Q:a A:b; [t] Q:c A:"
    )
    # An answer that was begun is gone on with.
    assert Template(ROUND).conversation(turns[1:3]) == "(none) Q:a A:b"
    assert Template("x  {{- .Prompt -}}  y").conversation([("user", "a")]) == "xay"
    # A prompt that was trained with braces of its own.
    braces = Template(as_ollama("{{x}} {question} {{"))
    assert braces.conversation([("user", "a")]) == "{{x}} a {{"
    for wrong in ("{{ if .System }}", "{{ end }}", "{{ .Tools }}", "{{ range .Messages }}", "{{}}"):
        with pytest.raises(ValueError, match="the template has"):
            Template(wrong)


def test_options_are_read_by_is_none() -> None:
    options = read_options({"temperature": 0, "top_k": None, "seed": 4.0})
    assert (options["temperature"], options["top_k"], options["seed"]) == (0, 40, 4)
    asked = sampling(options, context=50, most=300)
    assert (asked.temperature, asked.top_k, asked.top_p, asked.seed) == (0, 40, 0.9, 4)
    assert (asked.max_new_tokens, asked.window, asked.keep) == (300, 50, 4)
    defaults = sampling(read_options(None), context=1024, most=10**6)
    assert (defaults.temperature, defaults.top_k, defaults.top_p) == (0.8, 40, 0.9)
    assert (defaults.repetition_penalty, defaults.penalty_window) == (1.0, 64)
    assert (defaults.seed, defaults.max_new_tokens) == (None, 10_240)
    fill = sampling(read_options({"num_predict": -2, "num_ctx": 99}), context=64, most=10**6)
    assert (fill.max_new_tokens, fill.window) == (64, 64)


def test_unknown_options_are_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    read_options({f"secret {number}": 1 for number in range(100_000)} | {"num_gpu": 1})
    assert caplog.messages == ["100000 options of a request are not known"]


def test_small_things() -> None:
    assert timestamp(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"
    sizes = {_human(n) for n in (7, 25_103, 124_439_808, 2_000_000, 7_000_000_000, 1_540_000_000)}
    assert sizes == {"7", "25K", "124.44M", "2M", "7B", "1.5B"}


def test_a_port_that_cannot_be_had() -> None:
    for port in (-1, 65536):
        with pytest.raises(ValueError, match=f"there is no port {port}; choose one"):
            listen("127.0.0.1", port)
    with listen("127.0.0.1", 0) as taken, pytest.raises(ValueError, match="cannot listen on"):
        listen("127.0.0.1", taken.getsockname()[1])
