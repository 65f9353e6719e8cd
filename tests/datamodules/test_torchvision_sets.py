"""Fashion-MNIST and CIFAR-10, read from small files in their own formats."""

import gzip
import hashlib
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, FashionMNIST

from datamodules import CIFAR10DataModule, FashionMNISTDataModule
from datamodules.downloads import one_line
from tests.conftest import write_idx


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def clothes(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four archives, 60 training and 20 test images, with checksums that fit them."""
    raw = workplace / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    sums = []
    for prefix, count in (("train", 60), ("t10k", 20)):
        images = torch.randint(0, 256, (count, 28, 28), generator=generator)
        for name, values in (("images-idx3", images), ("labels-idx1", torch.arange(count) % 10)):
            path = raw / f"{prefix}-{name}-ubyte"
            write_idx(path, values)
            archive = path.with_name(f"{path.name}.gz")
            archive.write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
            sums.append((archive.name, md5(archive)))
    monkeypatch.setattr(FashionMNIST, "resources", sums)
    # A port of this machine where nothing listens: refused at once, as without a network.
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    return workplace / "data"


def test_archives_of_fashion_mnist_are_unpacked(clothes: Path) -> None:
    data = FashionMNISTDataModule(root=str(clothes), val_size=10)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    images, labels = next(iter(data.test_dataloader()))
    assert images.shape == (20, 1, 28, 28)
    assert labels.tolist() == [number % 10 for number in range(20)]
    assert data.class_names[9] == "Ankle boot"
    assert data.preprocessing == "resize-crop"
    some = FashionMNISTDataModule(root=str(clothes), val_size=0, classes=[0, 9])
    some.setup("fit")
    assert some.class_names == ["T-shirt/top", "Ankle boot"]
    assert len(some.train_dataloader().tensors[1]) == 12


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_damaged_files_of_fashion_mnist(clothes: Path, name: str) -> None:
    raw = clothes / "FashionMNIST" / "raw"
    data = FashionMNISTDataModule(root=str(clothes), val_size=10)
    archive = raw / f"{name}.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1] + b"x")
    with pytest.raises(ValueError, match=f"{name}.gz does not have the checksum"):
        data.prepare_data()
    archive.write_bytes(whole)
    data.prepare_data()
    path = raw / name
    for content in (path.read_bytes()[:-1], b"", b"\0" * 40):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is truncated or damaged"):
            data.setup("fit")
    path.unlink()
    archive.unlink()
    with pytest.raises(ValueError, match=r"FashionMNIST is not in .* could not be downloaded"):
        data.prepare_data()


@pytest.fixture
def cifar(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``cifar-10-python.tar.gz`` with 5 x 8 training and 8 test images."""
    root = workplace / "data"
    folder = root / CIFAR10.base_folder
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    sums = {}
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        pixels = generator.integers(0, 256, (8, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": list(range(8))}))
        sums[name] = md5(folder / name)
    names = list(CIFAR10DataModule.class_names)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    train = [[name, sums[name]] for name in sums if name != "test_batch"]
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(folder / "batches.meta")})
    archive = root / CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive))
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:9/{CIFAR10.filename}")
    for path in folder.iterdir():
        path.unlink()
    return root


def test_the_archive_of_cifar10_is_unpacked_and_read(cifar: Path) -> None:
    data = CIFAR10DataModule(root=str(cifar), val_size=10)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    images, labels = next(iter(data.test_dataloader()))
    assert images.shape == (8, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert labels.tolist() == list(range(8))
    stored = pickle.loads((cifar / CIFAR10.base_folder / "test_batch").read_bytes())["data"]
    assert torch.equal(images, torch.from_numpy(stored).view(8, 3, 32, 32))
    normalized, _ = data.on_after_batch_transfer((images, labels), 0)
    restored = normalized * torch.tensor(data.std).view(3, 1, 1) + torch.tensor(data.mean).view(
        3, 1, 1
    )
    assert torch.allclose(restored * 255, images.float(), atol=1e-3)
    assert len(data.train_dataloader().tensors[1]) == 30


def test_damaged_or_missing_files_of_cifar10(cifar: Path) -> None:
    data = CIFAR10DataModule(root=str(cifar))
    data.prepare_data()
    path = cifar / CIFAR10.base_folder / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"truncated or damaged .* delete that folder"):
        data.setup("fit")
    path.unlink()
    (cifar / CIFAR10.filename).unlink()
    with pytest.raises(ValueError, match=r"put cifar-10-python.tar.gz, or the folder"):
        data.prepare_data()


def test_why_a_download_failed_is_said() -> None:
    text = "Error downloading a.gz:\nTried https://example.org/, got:\n<urlopen error [Errno -3]>\n"
    assert one_line(RuntimeError(text)) == "Error downloading a.gz: <urlopen error [Errno -3]>"
    assert one_line(OSError("disk full")) == "disk full"
    assert one_line(EOFError()) == "EOFError"
