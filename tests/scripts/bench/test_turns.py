"""``gpu-learning bench turns``: a small run of it measures what it says."""

import json

import pytest


@pytest.mark.slow
def test_a_short_run(gpu_learning) -> None:
    pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")
    small = ("--history", "200", "--said", "20", "--tokens", "4", "--rounds", "2")
    code, out, err = gpu_learning("bench", "turns", *small, "--device", "cpu", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["equal"] == report["compared"] == 2
    assert report["ratio"]["n"] == 2
    assert set(report["first_token_ms"]) == {"with reuse", "without"}
    assert all(row["min"] > 0 for row in report["first_token_ms"].values())


def test_what_cannot_be_measured_is_said_before_a_server_starts(gpu_learning) -> None:
    for option in ("--history", "--said", "--tokens", "--slots", "--rounds"):
        code, _, err = gpu_learning("bench", "turns", option, "0")
        assert code == 2
        assert f"{option} must be at least 1, got 0" in err
    code, _, err = gpu_learning("bench", "turns", "--history", "1000")
    assert code == 2
    assert "1072 tokens of both turns are more than the context of 1024" in err
