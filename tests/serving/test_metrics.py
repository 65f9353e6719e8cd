"""What Prometheus reads, per model, and a dashboard that asks for nothing else."""

import json
import re
from pathlib import Path

import httpx
import pytest

from inference.text.latency import BOUNDS, TokenGaps
from tests.conftest import ROOT
from tests.serving.conftest import serving

parser = pytest.importorskip(
    "prometheus_client.parser", reason="the extra [serve] is not installed"
)

ASKED = {"model": "tiny", "prompt": "the cat", "options": {"num_predict": 12, "seed": 1}}
DASHBOARD = ROOT / "docs" / "grafana.json"
SAID = "the cat sat on the mat and the dog"
WAITS = ("first_token", "queue", "inter_token")


@pytest.fixture(scope="module")
def samples(models: Path) -> list:
    """Name, labels and value of each row after three answers of two models."""
    with serving(models, slots=3) as server, httpx.Client(base_url=server.url) as client:
        for body in (ASKED, ASKED | {"model": "talk"}):
            assert client.post("/api/generate", json=body).status_code == 200
        long = {"model": "tiny", "prompt": SAID, "max_tokens": 1, "n": 1}
        for _ in range(2):
            assert client.post("/v1/completions", json=long).status_code == 200
        text = client.get("/metrics").text
    families = list(parser.text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    return [sample for family in families for sample in family.samples]


def _value(samples: list, name: str, **labels: str) -> float:
    found = [one.value for one in samples if one.name == name and one.labels == labels]
    assert len(found) == 1, (name, labels)
    return found[0]


def test_each_wait_has_a_histogram_per_model(samples: list) -> None:
    counts = {
        (wait, model): _value(samples, f"gpu_learning_{wait}_seconds_count", model=model)
        for wait in WAITS
        for model in ("tiny", "talk")
    }
    assert counts == {
        ("first_token", "tiny"): 3,
        ("first_token", "talk"): 1,
        ("queue", "tiny"): 3,
        ("queue", "talk"): 1,
        ("inter_token", "tiny"): 11,
        ("inter_token", "talk"): 11,
    }
    for (wait, model), count in counts.items():
        name = f"gpu_learning_{wait}_seconds"
        buckets = [
            one for one in samples if one.name == f"{name}_bucket" and one.labels["model"] == model
        ]
        values = [one.value for one in buckets]
        assert values == sorted(values)
        assert (buckets[-1].labels["le"], values[-1]) == ("+Inf", count)
        assert 0 < _value(samples, f"{name}_sum", model=model) < 60


def test_tokens_and_slots_are_counted_per_model(samples: list) -> None:
    kinds = {
        kind: _value(samples, "gpu_learning_tokens_total", model="tiny", kind=kind)
        for kind in ("prompt", "generated", "reused")
    }
    # The second of two equal prompts finds all of it in its slot but the token that is stepped.
    assert kinds == {
        "prompt": 7 + 2 * len(SAID),
        "generated": 14,
        "reused": len(SAID) - 1,
    }
    for name, expected in (("slots", 3), ("active_requests", 0), ("waiting_requests", 0)):
        assert _value(samples, f"gpu_learning_{name}", model="tiny") == expected


def test_the_dashboard_asks_for_what_there_is(samples: list) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [
        one["query"]["query"] for one in dashboard["templating"]["list"] if "definition" in one
    ]
    labels: dict[str, set[str]] = {}
    for sample in samples:
        labels.setdefault(sample.name, set()).update(sample.labels)
    asked: set[str] = set()
    for query in queries:
        names = re.findall(r"gpu_learning_\w+", query)
        assert names, query
        asked.update(names)
        for name in names:
            assert name in labels, name
            used = set(re.findall(r"(\w+)=~?\"", query))
            used |= {
                one for group in re.findall(r"by \(([^)]*)\)", query) for one in group.split(", ")
            }
            assert used <= labels[name], query
        assert query.count("(") == query.count(")")
        assert query.count("{") == query.count("}")
    ours = {re.sub("_(bucket|sum|count)$", "", name) for name in labels}
    assert {re.sub("_bucket$", "", name) for name in asked} == ours
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(identifiers)) == len(identifiers)


def test_gaps_are_counted_by_length() -> None:
    gaps, more = TokenGaps(), TokenGaps()
    for seconds in (0.0005, 0.001, 0.0011, 99.0):
        gaps.add(seconds)
    more.add(0.0011)
    gaps.merge(more)
    assert gaps.counts == [2, 2, *[0] * (len(BOUNDS) - 2), 1]
    assert gaps.total == pytest.approx(0.0005 + 0.001 + 0.0022 + 99)
