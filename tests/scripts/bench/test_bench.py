import json
from pathlib import Path

import pytest

from scripts.bench import scaling as bench_scaling
from scripts.bench.train import limit


@pytest.mark.slow
def test_bench_train_measures_every_arm(
    gpu_learning, small_mnist: Path, tmp_path: Path, device: str
) -> None:
    trace = tmp_path / "trace.json"
    code, out, err = gpu_learning(
        *("bench", "train", "-c", "configs/mnist_cnn.yaml", "--data.init_args.val_size=100"),
        *("--steps", "4", "--repeats", "2", "--json"),
        *("--trace", str(trace)),
    )
    assert code == 0, err
    report = json.loads(out)
    assert report["course"]["ratio"] == 1
    assert any(
        "conv" in event.get("name", "") for event in json.loads(trace.read_text())["traceEvents"]
    )
    assert set(report) == {"course", "lightning", "ours", "ours, logger and bar off"}
    assert all(row["min"] <= row["median"] <= row["max"] for row in report.values())
    last = report["ours, logger and bar off"]
    if device == "cpu":
        assert last["gpu"] == 0
        assert last["host"] == last["median"]
    else:
        assert last["gpu"] > 0
    assert last["images_per_second"] == pytest.approx(32e6 / last["median"])


def test_bench_train_says_what_the_limit_is() -> None:
    assert "waits for the host for 30 us: the GPU is the limit" in limit(70, 30)
    assert "waits for the host for 70 us: the host is the limit" in limit(30, 70)
    assert "the host computes each step" in limit(0, 100)


@pytest.mark.slow
def test_bench_fit_counts_its_runs(gpu_learning, device: str) -> None:
    code, out, err = gpu_learning(
        *("bench", "fit", "-c", "configs/digits_cnn.yaml", "--trainer.max_epochs=1"),
        *("--seeds", "2", "--json"),
    )
    assert code == 0, err
    report = json.loads(out)
    accuracies = [run["test/acc"] for run in report["runs"]]
    assert [run["seed"] for run in report["runs"]] == [0, 1]
    assert report["summary"]["test accuracy, mean"] == sum(accuracies) / 2


def test_bench_fit_needs_a_validation_for_its_metric(gpu_learning) -> None:
    code, _, err = gpu_learning(
        *("bench", "fit", "-c", "configs/digits_cnn.yaml", "--metric", "val/acc", "--seeds", "1"),
        *("--trainer.max_steps=3", "--trainer.val_check_interval=1.0"),
    )
    assert code == 1
    assert "nothing was validated, so there is no val/acc; an epoch must end" in err


def test_bench_scaling_compares_one_device_with_several() -> None:
    config = ["-c", "configs/digits_cnn.yaml", "--data.init_args.batch_size"]
    assert list(bench_scaling.arms([*config, "33"], 2, "ddp")) == [
        "1 device, batch 33",
        "2 devices, batch 33 each",
    ]
    runs = bench_scaling.arms([*config, "64"], 2, "ddp")
    assert list(runs) == [
        "1 device, batch 64",
        "2 devices, batch 64 each",
        "2 devices, batch 32 each",
    ]
    assert runs["2 devices, batch 32 each"][-1] == "--data.init_args.batch_size=32"


@pytest.mark.slow
def test_bench_scaling_runs_two_processes(gpu_learning, monkeypatch) -> None:
    arms = bench_scaling.arms  # starting one process more shows nothing more
    monkeypatch.setattr(bench_scaling, "arms", lambda *a: dict(list(arms(*a).items())[1:]))
    code, out, err = gpu_learning(
        *("bench", "scaling", "-c", "configs/digits_cnn.yaml", "--seeds", "1", "--json"),
        *("--trainer.max_epochs=1", "--data.init_args.batch_size=33"),
    )
    assert code == 0, err
    (two,) = json.loads(out)["2 devices, batch 33 each"]["runs"]
    assert two["images"] == 20 * 66  # 1,257 images in 20 batches of two processes
    assert two["test/acc"] > 0.2


def test_bench_scaling_says_that_a_run_failed(gpu_learning, monkeypatch) -> None:
    monkeypatch.setattr("sys.executable", "false")  # the program that fails
    code, _, err = gpu_learning("bench", "scaling", "-c", "configs/digits_cnn.yaml")
    assert code == 1
    assert "this run failed, for the reason above: scripts.cli bench fit" in err


def test_bench_train_needs_mnist(gpu_learning) -> None:
    code, _, err = gpu_learning("bench", "train", "-c", "configs/digits_cnn.yaml")
    assert code == 1
    assert "MNIST" in err


def test_bench_lists_its_benchmarks(gpu_learning) -> None:
    code, out, _ = gpu_learning("bench", "--help")
    assert code == 0
    assert "train" in out
    assert gpu_learning("bench", "trian")[0] == 2
