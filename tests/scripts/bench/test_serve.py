"""``gpu-learning bench serve``: a small run of it measures what it says."""

import gc
import json
from pathlib import Path

import pytest

from scripts.bench.asking import running_server
from scripts.bench.serve import lines


@pytest.mark.slow
def test_a_short_run(gpu_learning) -> None:
    pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")
    small = ("--streams", "6", "--slots", "4", "--tokens", "8", "--alone", "2", "--rounds", "1")
    code, out, err = gpu_learning("bench", "serve", *small, "--soak", "20", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["equal"] == report["compared"] == 6
    assert report["together"]["median"] > 0
    assert report["ratio"] > 0
    assert report["first_token_ms"] > 0
    assert set(report["processor_ms_per_token"]) == {"together", "one at a time"}
    assert len(report["memory_mib"]) == 10
    shown = "\n".join(lines(report, soak=20))
    costs = report["processor_ms_per_token"]
    assert f"{costs['together']:.3f} ms together, {costs['one at a time']:.3f} ms one at" in shown
    assert "texts equal one at a time: 6 of 6\n" in shown
    assert "memory over 20 requests, MiB: " in shown


def test_what_cannot_be_measured_is_said_before_the_server_starts(gpu_learning) -> None:
    for option in ("--streams", "--slots", "--tokens", "--alone", "--rounds"):
        code, _, err = gpu_learning("bench", "serve", option, "0")
        assert code == 2
        assert f"{option} must be at least 1, got 0" in err
    code, _, err = gpu_learning("bench", "serve", "--models", ".", "--model", "nope")
    assert code == 1
    assert "nope does not exist" in err


def test_the_client_does_not_look_through_its_own_objects_while_it_measures(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")
    with running_server(tmp_path):
        assert gc.get_freeze_count() > len(gc.get_objects())
    assert gc.get_freeze_count() == 0
