"""What ``gpu-learning fit -c configs/mnist_cnn.yaml`` says when MNIST cannot be had."""

import gzip
import os
from pathlib import Path

import pytest
from torchvision.datasets import MNIST

from tests.helpers.commands import bad

CNN = ("fit", "-c", "configs/mnist_cnn.yaml", "--trainer.max_epochs=1")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    # A port of this machine where nothing listens: refused at once, as without a network.
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])


def test_trains_on_what_is_there(gpu_learning, small_mnist: Path) -> None:
    code, out, err = gpu_learning(*CNN, "--data.init_args.val_size=100")
    assert code == 0, err
    assert "epoch 1/1" in out


def test_no_network_and_no_data(gpu_learning, offline: None, workplace: Path) -> None:
    _, said = bad(gpu_learning, *CNN)
    assert "configs/digits_cnn.yaml" in said
    assert "train-images-idx3-ubyte.gz" in said
    assert "train-images.idx3-ubyte, must be renamed" in said
    assert not (workplace / "logs").exists()


def test_archives_of_any_packing_are_unpacked(gpu_learning, offline, small_mnist: Path) -> None:
    raw = small_mnist / "MNIST" / "raw"
    for path in list(raw.iterdir()):
        (raw / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        path.unlink()
    code, _, err = gpu_learning(*CNN, "--data.init_args.val_size=100")
    assert code == 0, err
    for path in raw.glob("*ubyte"):
        path.unlink()
    damaged = raw / "train-labels-idx1-ubyte.gz"
    for content in (damaged.read_bytes()[:100], gzip.compress(b"something else")):
        damaged.write_bytes(content)
        _, said = bad(gpu_learning, *CNN)
        assert damaged.name in said
        assert not (raw / "train-labels-idx1-ubyte").exists()


@pytest.mark.parametrize("keep", [0.5, 1.0])
def test_truncated_or_damaged_file(gpu_learning, small_mnist: Path, keep: float) -> None:
    path = small_mnist / "MNIST" / "raw" / "train-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content[: int(len(content) * keep)])
    _, said = bad(gpu_learning, *CNN)
    assert "truncated or damaged" in said
    assert str(path.name) in said


def test_root_is_a_file(gpu_learning, offline: None, workplace: Path) -> None:
    (workplace / "data").write_text("")
    _, said = bad(gpu_learning, *CNN)
    assert "is a file" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_root_cannot_be_written(gpu_learning, offline: None, workplace: Path) -> None:
    (workplace / "data").mkdir(mode=0o500)
    _, said = bad(gpu_learning, *CNN)
    assert "cannot be written" in said
