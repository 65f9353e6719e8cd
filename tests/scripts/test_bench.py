import json
from pathlib import Path


def test_bench_train_measures_every_arm(gpu_learning, small_mnist: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    code, out, err = gpu_learning(
        *("bench", "train", "-c", "configs/mnist_cnn.yaml", "--data.init_args.val_size=100"),
        *("--steps", "4", "--repeats", "2", "--json", "--trainer.accelerator=cpu"),
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


def test_bench_fit_counts_its_runs(gpu_learning) -> None:
    code, out, err = gpu_learning(
        *("bench", "fit", "-c", "configs/digits_cnn.yaml", "--trainer.max_epochs=1"),
        *("--seeds", "2", "--json", "--trainer.accelerator=cpu"),
    )
    assert code == 0, err
    report = json.loads(out)
    accuracies = [run["test/acc"] for run in report["runs"]]
    assert [run["seed"] for run in report["runs"]] == [0, 1]
    assert report["summary"]["test accuracy, mean"] == sum(accuracies) / 2


def test_bench_train_needs_mnist(gpu_learning) -> None:
    code, _, err = gpu_learning("bench", "train", "-c", "configs/digits_cnn.yaml")
    assert code == 1
    assert "MNIST" in err


def test_bench_lists_its_benchmarks(gpu_learning) -> None:
    code, out, _ = gpu_learning("bench", "--help")
    assert code == 0
    assert "train" in out
    assert gpu_learning("bench", "trian")[0] == 2
