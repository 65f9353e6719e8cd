import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_it_knows_the_graph_strategy_in_a_process_of_its_own() -> None:
    pytest.importorskip("peft", reason="the extra [llm] is not installed")
    command = (sys.executable, "-m", "scripts.cli", "bench", "lora", "--shape", "course")
    ended = subprocess.run(
        [*command, "--batches", "2x8", "--strategy", "cuda_graph"], capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert "needs a CUDA GPU" in ended.stderr


def test_bench_lora_measures_training(gpu_learning, device: str) -> None:
    pytest.importorskip("peft", reason="the extra [llm] is not installed")
    options = ("--shape", "course", "--batches", "2x8,4x16", "--steps", "2", "--rounds", "2")
    code, out, err = gpu_learning(
        *("bench", "lora", *options, "--no-compile", "--json"),
        *("--precision", "32-true"),
    )
    assert code == 0, err
    rows = json.loads(out)["rows"]
    assert [row["batch"] for row in rows] == ["2x8", "4x16"]
    for row in rows:
        rate = row["tokens_per_second"]
        assert 0 < rate["min"] <= rate["median"] <= rate["max"]
        assert 0 < row["checkpoint_bytes"] < 100_000
