import json
from pathlib import Path

import pytest

from scripts.bench.images import read_digits
from scripts.bench.pages import KINDS
from tests.conftest import ROOT


def test_bench_images_counts_what_is_read(gpu_learning, artifact: Path) -> None:
    kinds = ["28 x 28, the digit's own", "one faint pixel", "ruled, dark"]
    options = ("--data", "digits", "--count", "20", "--json", "--kinds", *kinds)
    code, out, err = gpu_learning("bench", "images", artifact, *options)
    assert code == 0, err
    rows = json.loads(out)["kinds"]
    assert list(rows) == kinds
    for row in rows.values():
        assert row["n"] == 20
        assert row["right"] >= 15
        assert row["accuracy"] == row["right"] / 20
        assert row["milliseconds"] > 0


def test_the_cut_is_of_the_training_split_and_the_order_is_the_seeds() -> None:
    images, labels = read_digits("digits", "val", "data")
    assert images.shape == (180, 28, 28)
    assert images.max() == 255
    again, other = read_digits("digits", "val", "data"), read_digits("digits", "val", "data", 1)
    assert (labels == again[1]).all()
    assert (labels != other[1]).any()
    assert len(read_digits("digits", "test", "data")[1]) == 360


def test_bench_images_refuses_other_models(gpu_learning) -> None:
    code, _, err = gpu_learning("bench", "images", "nowhere")
    assert code == 1
    assert "nowhere" in err
    assert gpu_learning("bench", "images", "nowhere", "--kinds", "holes")[0] == 2


@pytest.mark.slow
def test_every_kind_of_page_is_read(gpu_learning, tmp_path: Path) -> None:
    """A net of one short epoch on MNIST; docs/benchmarks.md has the figures of a whole one."""
    if not (ROOT / "data" / "MNIST" / "raw" / "t10k-images-idx3-ubyte").is_file():
        pytest.skip("needs MNIST in data/")
    root = str(ROOT / "data")
    code, _, err = gpu_learning(
        *("fit", "-c", "configs/mnist_cnn.yaml", "--trainer.max_epochs=1"),
        *("--trainer.limit_train_batches=0.4", f"--data.init_args.root={root}"),
    )
    assert code == 0, err
    code, _, err = gpu_learning("export", "logs/mnist_cnn", "--format", "torchscript")
    assert code == 0, err
    options = ("--root", root, "--count", "25", "--json")
    code, out, err = gpu_learning("bench", "images", "models/mnist_cnn", *options)
    assert code == 0, err
    rows = json.loads(out)["kinds"]
    assert list(rows) == list(KINDS)
    plain = rows["plain"]["right"]
    assert plain >= 22
    low = {kind: row["right"] for kind, row in rows.items() if row["right"] < plain - 2}
    assert set(low) <= {"8 x 8"}, low
