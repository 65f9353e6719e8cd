"""Durations, templates and options, each by itself."""

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from inference.load import PACKAGES
from inference.manifest import read_manifest
from inference.text.artifact import BEST
from inference.text.templates import as_ollama
from serving.artifact import _PRECISION, SHOWING, Artifact, _human
from serving.errors import ApiError
from serving.loaded import _device
from serving.ollama.durations import seconds
from serving.options import sampling_options, token_limit
from serving.prompts import text_of, turns
from serving.server import listen
from serving.settings import Settings
from serving.template import Template
from serving.wire import timestamp

LIMITS = Settings(Path())
ROUND = (
    "{{ if .System }}[{{ .System }}]{{ else }}(none){{ end }} Q:{{ .Prompt }} A:{{ .Response }}; "
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


def _prompt(source: str, turns: list[tuple[str, str]]) -> str:
    return Template(source).conversation(turns, longest=10_000)


def test_templates() -> None:
    turns = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c")]
    assert _prompt(ROUND, turns) == "[s] Q:a A:b; (none) Q:c A:"
    assert _prompt("{{ .Prompt }}", turns[1:]) == "abc"
    with pytest.raises(ValueError, match=r"no \{\{ \.System \}\} for the system message"):
        _prompt("{{ .Prompt }}", turns)
    assert _prompt(ROUND, [("user", "a"), ("user", "b")]) == "(none) Q:a\n\nb A:"
    # A model that continues a text gets the messages one after the other and nothing else.
    assert _prompt(as_ollama(None), [("user", "a"), ("user", "b")]) == "ab"
    assert _prompt(ROUND, [*turns[1:3], ("system", "t"), turns[3]]) == "(none) Q:a A:b; [t] Q:c A:"
    # An answer that was begun is continued.
    assert _prompt(ROUND, turns[1:3]) == "(none) Q:a A:b"
    assert _prompt("x  {{.Prompt}}  y", turns[1:2]) == "x  a  y"
    # A prompt that was trained with braces of its own, and what a Modelfile of ours holds.
    assert _prompt(as_ollama("{{x}} {question} {{"), turns[1:2]) == "{{x}} a {{"
    assert _prompt(as_ollama("Q: {question}\nA:"), turns[:2]) == "s\nQ: a\nA:"
    assert _prompt(as_ollama(None), turns[:2]) == "sa"


@pytest.mark.parametrize("source", [ROUND, as_ollama(None), as_ollama("Q: {question}\nA:")])
def test_no_text_of_a_conversation_is_left_out(source: str) -> None:
    """Every order of up to four messages, empty ones among them."""
    kinds = [(role, full) for role in ("system", "user", "assistant") for full in (True, False)]
    for count in range(1, 5):
        for chosen in itertools.product(kinds, repeat=count):
            given = [(role, f"<{n}>" * full) for n, (role, full) in enumerate(chosen)]
            prompt = _prompt(source, given)
            found = re.findall(r"<\d>", prompt)
            assert sorted(found) == [text for _, text in given if text], (given, prompt)


def test_roles() -> None:
    given = [("System", "a"), ("developer", "b"), ("USER", "c"), ("assistant", "")]
    roles = [role for role, _ in turns(given, LIMITS)]
    assert roles == ["system", "system", "user", "assistant"]
    for role, named in (("tool", "'tool'"), ("", "missing"), (None, "missing"), ("\n" * 99, "")):
        with pytest.raises(ApiError, match=rf"messages\.1: the role is {named}") as error:
            turns([("user", "a"), (role, "b")], LIMITS)
        assert error.value.status == 400
        assert len(error.value.text) < 200


def test_parts_of_a_message_follow_each_other() -> None:
    parts = [{"type": "text", "text": "the "}, {"type": "text", "text": "cat"}]
    assert text_of(parts, ("text",), LIMITS) == text_of("the cat", ("text",), LIMITS) == "the cat"
    assert text_of(None, ("text",), LIMITS) == text_of([], ("text",), LIMITS) == ""
    for part in ({"type": "image"}, {"type": "text"}, {"type": "text", "text": 3}, "a", 3, None):
        with pytest.raises(ApiError, match="only text is supported"):
            text_of([part], ("text",), LIMITS)


@pytest.mark.parametrize(
    "source",
    [
        *("{{ if .System }}", "{{ end }}", "{{ else }}", "{{ .Tools }}", "{{ range .Messages }}"),
        *("{{}}", "{{ .Prompt", "{{ if }}a{{ end }}", "{{ if .Tools }}a{{ end }}"),
        "{{ if .System }}{{ if .Prompt }}a{{ end }}{{ end }}",
        "{{ if .System }}a{{ else }}b{{ else }}c{{ end }}",
    ],
)
def test_what_a_template_may_not_have(source: str) -> None:
    with pytest.raises(ValueError, match="the template has"):
        Template(source)


def test_a_prompt_that_a_template_repeats_is_refused_before_it_is_made() -> None:
    template = Template("{{ .Prompt }}" * 1000)
    with pytest.raises(ValueError, match="the prompt is longer than 1,048,576 characters"):
        template.conversation([("user", "a" * 2**20)], longest=2**20)


def test_options_are_read_by_is_none() -> None:
    limits = replace(LIMITS, max_tokens=300)
    asked = sampling_options({"temperature": 0, "top_k": None, "seed": 4.0}, 50, limits)
    assert (asked.temperature, asked.top_k, asked.top_p, asked.seed) == (0, 40, 0.9, 4)
    assert (asked.max_new_tokens, asked.window, asked.keep) == (300, 50, 4)
    limits = replace(LIMITS, max_tokens=10**6)
    defaults = sampling_options(None, 1024, limits)
    assert (defaults.temperature, defaults.top_k, defaults.top_p) == (0.8, 40, 0.9)
    assert (defaults.repetition_penalty, defaults.penalty_window) == (1.0, 64)
    assert (defaults.seed, defaults.max_new_tokens) == (None, 10_240)
    fill = sampling_options({"num_predict": -2, "num_ctx": 99}, 64, limits)
    assert (fill.max_new_tokens, fill.window) == (64, 64)


def test_limits_of_answers() -> None:
    assert [token_limit(most, "max_tokens") for most in (None, -1, 1, 9)] == [None, None, 1, 9]
    for most in (0, -2):
        with pytest.raises(ApiError, match="max_tokens must be at least 1, or -1"):
            token_limit(most, "max_tokens")


@pytest.mark.parametrize(("name", "neutral"), [("typical_p", 1), ("mirostat", 0), ("tfs_z", 1)])
def test_options_that_no_sampler_has_are_refused(name: str, neutral: int) -> None:
    assert sampling_options({name: neutral}, 64, LIMITS) == sampling_options({}, 64, LIMITS)
    with pytest.raises(ApiError, match=f'"{name}" is not supported; leave it at {neutral}'):
        sampling_options({name: 2}, 64, LIMITS)


def test_no_penalty_looks_at_no_token() -> None:
    penalties = {"repeat_penalty": 1.5, "presence_penalty": 0.5, "frequency_penalty": 0.25}
    none = sampling_options(penalties | {"repeat_last_n": 0}, 50, LIMITS)
    assert not none.adjusted
    for last, window in ((-1, 50), (7, 7)):
        asked = sampling_options(penalties | {"repeat_last_n": last}, 50, LIMITS)
        found = (asked.repetition_penalty, asked.presence_penalty, asked.frequency_penalty)
        assert (*found, asked.penalty_window) == (1.5, 0.5, 0.25, window)


def test_unknown_options_are_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    given = {f"secret {number}": 1 for number in range(99)} | {"num_gpu": 1}
    sampling_options(given, 64, LIMITS)
    assert caplog.messages == ["99 options of a request are not known"]


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


def test_what_has_embeddings_lists_them(models: Path) -> None:
    def capabilities(*formats: str) -> list[str]:
        files = dict.fromkeys(formats, manifest.files["safetensors"])
        files["tokenizer"] = manifest.files["tokenizer"]
        return Artifact.of(replace(manifest, files=files), 0).capabilities

    manifest = read_manifest(models / "tiny")
    assert set(SHOWING) == set(BEST) - {"onnx"}
    assert all(capabilities(name) == ["completion", "embedding"] for name in SHOWING)
    assert capabilities("onnx") == ["completion"]
    assert capabilities("onnx", "int8") == ["completion", "embedding"]
    digits = Artifact.of(read_manifest(models / "digits"), 0)
    assert digits.capabilities == ["vision-classification"]


def test_every_format_has_a_precision() -> None:
    assert set(_PRECISION) == set(BEST) - {"gguf-adapter"} | set(PACKAGES)


@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        (("onnx", "torchscript"), "cpu"),
        (("torchscript",), "cuda"),
        (("pt2-fp16",), "cuda"),
        (("executorch",), "cpu"),
        (("onnx-int8", "safetensors"), "cpu"),
    ],
)
def test_images_are_classified_where_a_format_can_run(
    models: Path, formats: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    manifest = read_manifest(models / "digits")
    (file,) = manifest.files.values()
    artifact = Artifact(replace(manifest, files=dict.fromkeys(formats, file)), 0)
    assert _device("auto", artifact) == expected
    assert _device("cpu", artifact) == "cpu"
