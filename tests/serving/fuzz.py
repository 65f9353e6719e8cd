"""Makes malformed requests; ``python -m tests.serving.fuzz COUNT SEED`` sends many.

They go to a server of its own, with ``--writable`` and three small models (``tiny``, ``json`` and
``digits``); names that are not there are part of the game. Those three are never deleted.
"""

import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

PATHS = (
    "/readyz/{model}",
    "/api/delete",
    "/api/generate",
    "/api/chat",
    "/api/embed",
    "/api/embeddings",
    "/api/show",
    "/api/classify",
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/tokenize",
    "/detokenize",
    "/api/copy",
)
FIELDS = (
    *("model", "prompt", "messages", "stream", "options", "format", "keep_alive", "images"),
    *("raw", "template", "system", "context", "suffix", "think", "truncate", "shift", "name"),
    *("logprobs", "top_logprobs", "input", "dimensions", "tools", "verbose", "max_tokens"),
    *("stop", "seed", "n", "stream_options", "response_format", "instructions", "text"),
    *("max_output_tokens", "truncation", "metadata", "encoding_format", "stop_sequences"),
    *("top_p", "temperature", "content", "tokens", "with_pieces", "source", "destination"),
    *("echo", "best_of", "logit_bias"),
)
OPTIONS = (
    *("num_ctx", "num_keep", "seed", "num_predict", "top_k", "top_p", "min_p", "typical_p"),
    *("repeat_last_n", "temperature", "repeat_penalty", "presence_penalty"),
    *("frequency_penalty", "stop", "num_gpu", "nothing"),
)
# Answers stay short, so that the time goes into requests.
_SHORT = {"num_predict": 2}

# Whole parts of templates, right and wrong, in any order.
_PARTS = (
    *("{{", "}}", "{{ ", " }}", " ", "{{ .Prompt }}", "{{.System}}", "{{ .Response }}", "{{ .X }}"),
    *("{{ if .System }}", "{{ if }}", "{{ else }}", "{{ end }}", '{{ "{{" }}', "{{-", "-}}", "\n"),
)

_numbers = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.sampled_from([0, -1, 1, 1e308])
)
_names = st.sampled_from(["tiny", "the cat", "json", "../..", "copied", "copied:latest", ""])
_texts = st.one_of(st.text(max_size=20), _names)
_leaves = st.one_of(st.none(), st.booleans(), _numbers, _texts)
_values = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(_texts, inner, max_size=4),
        st.fixed_dictionaries({"role": inner, "content": inner}),
    ),
    max_leaves=8,
)
_templates = st.builds(
    "".join, st.lists(st.sampled_from(_PARTS) | st.text(max_size=3), max_size=30)
)
_long_templates = st.builds(
    lambda part, count: part * count, st.sampled_from(_PARTS), st.integers(1, 3000)
)
_options = st.dictionaries(st.sampled_from(OPTIONS), _leaves | st.lists(_texts, max_size=3))
_bodies = st.fixed_dictionaries(
    {"model": st.sampled_from(["tiny", "json", "digits", "copied", "broken?", ""]) | _values},
    # Half right, so that requests come past the first check.
    optional={name: _values for name in FIELDS if name != "model"}
    | {"options": _options}
    | dict.fromkeys(("prompt", "input", "content", "destination"), _texts | _values)
    | dict.fromkeys(("source", "name"), _names | _values)
    | {"messages": st.just([{"role": "user", "content": "the cat"}]) | _values}
    | {"tokens": st.lists(st.integers(0, 30), max_size=4) | _values},
)
_deep = st.sampled_from(["[", '{"a":', '{"options":{"stop":['])


@st.composite
def _contents(draw: st.DrawFn) -> bytes:
    """A body: JSON of the wrong shape, broken JSON, bytes, or something very deep or large."""
    kinds = ["json", "json", "json", "template", "cut", "bytes", "deep", "flip", "long"]
    kind = draw(st.sampled_from(kinds))
    if kind == "bytes":
        return draw(st.binary(max_size=200))
    if kind == "deep":
        return draw(_deep).encode() * draw(st.integers(1, 20_000))
    body = draw(_bodies)
    options = body.setdefault("options", _SHORT)
    if isinstance(options, dict):
        asked = options.get("num_predict")
        body["options"] = options if isinstance(asked, str | list) else options | _SHORT
    body.setdefault("max_tokens", 2)
    body.setdefault("max_output_tokens", 2)
    if kind == "template":
        given = {"model": "tiny", "prompt": "a", "template": draw(_templates | _long_templates)}
        return json.dumps(given | {"options": _SHORT, "max_tokens": 2}).encode()
    content = json.dumps(body).encode()
    if kind == "cut":
        return content[: draw(st.integers(0, len(content)))]
    if kind == "flip":
        place = draw(st.integers(0, len(content) - 1))
        return content[:place] + bytes([draw(st.integers(0, 255))]) + content[place + 1 :]
    if kind == "long":
        return content[:-1] + b',"prompt":"' + b"a" * draw(st.integers(0, 200_000)) + b'"}'
    return content


def malformed(client: httpx.Client, count: int, seed: int) -> Counter[tuple[str, int]]:
    """Sends ``count`` bodies to the routes; returns how often each route had each status."""
    seen: Counter[tuple[str, int]] = Counter()

    @hypothesis.seed(seed)
    @_bounded(count)
    @hypothesis.given(st.sampled_from(PATHS), _contents(), st.booleans(), _texts)
    def send(path: str, content: bytes, as_form: bool, name: str) -> None:
        kind = "multipart/form-data; boundary=a" if as_form else "application/json"
        method = {"/api/delete": "DELETE", "/readyz/{model}": "GET"}.get(path, "POST")
        if method == "DELETE":
            for kept in (b"tiny", b"json", b"digits"):
                content = content.replace(kept, b"copied")
        url = path.replace("{model}", quote(name, safe="", errors="replace"))
        answer = client.request(method, url, content=content, headers={"content-type": kind})
        seen[path, answer.status_code] += 1
        assert answer.status_code < 500 or answer.status_code == 503, (path, content, answer.text)

    send()
    return seen


def from_openapi(client: httpx.Client, count: int, seed: int) -> Counter[tuple[str, int]]:
    """The same with requests that schemathesis makes of /openapi.json, right and wrong ones."""
    seen: Counter[tuple[str, int]] = Counter()
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    operations = [result.ok() for result in schema.get_all_operations()]
    for operation in operations:

        @hypothesis.seed(seed)
        @_bounded(-(-count // len(operations)))
        @hypothesis.given(
            st.one_of(
                operation.as_strategy(),
                operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE),
            )
        )
        def send(case: Any) -> None:
            arguments = case.as_transport_kwargs(base_url=str(client.base_url))
            body = arguments.get("json")
            if isinstance(body, dict):
                body["options"] = _SHORT
                body["max_tokens"] = body["max_output_tokens"] = 2
            arguments = {key: value for key, value in arguments.items() if value is not None}
            if "data" in arguments and isinstance(arguments["data"], bytes | str):
                arguments["content"] = arguments.pop("data")
            arguments.pop("cookies", None)
            try:
                answer = client.request(**arguments)
            except (
                httpx.InvalidURL,
                httpx.LocalProtocolError,
                TypeError,
                ValueError,
                AttributeError,
            ):
                return  # the client itself refuses to send it
            seen[case.operation.path, answer.status_code] += 1
            assert answer.status_code < 500 or answer.status_code == 503, (arguments, answer.text)

        send()
    return seen


def checked(client: httpx.Client) -> bool:
    """Whether the server still answers."""
    return client.get("/api/version").status_code == 200


def _bounded(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def main(count: int, seed: int) -> None:
    """Prints how often each route had each status; an assertion fails at the first 500."""
    from tests.serving.conftest import export_digits, export_tiny
    from tests.serving.live import serving

    with tempfile.TemporaryDirectory() as place:
        models = Path(place) / "models"
        export_tiny(models / "tiny")
        export_tiny(models / "json", "\n" + "".join(map(chr, range(0x20, 0x7F))))
        export_digits(models / "digits")
        with (
            serving(models, "--writable") as (url, _),
            httpx.Client(base_url=url, timeout=60) as http,
        ):
            for name in ("tiny", "json", "digits"):  # what is measured is not the loading
                while http.get(f"/readyz/{name}").status_code != 200:
                    time.sleep(0.5)
            began = time.perf_counter()
            total = malformed(http, count * 3 // 4, seed) + from_openapi(http, count // 4, seed)
            took = time.perf_counter() - began
            print("still answers:", checked(http))
    for path in sorted({path for path, _ in total}):
        statuses = {status: number for (one, status), number in total.items() if one == path}
        print(f"{path:<32}{sum(statuses.values()):>6}  {dict(sorted(statuses.items()))}")
    print(f"{sum(total.values()):,} requests in {took:.0f} s")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(int(sys.argv[1]), int(sys.argv[2]))
