"""A folder of images as batches: sizes, splits, broken files, copies, memory."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ImageFolderDataModule
from datamodules.image_folder import free_bytes
from tests.conftest import quiet_trainer
from tests.helpers.image_folders import CLASSES, make_folder, spoil


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "shapes", side=16, count=80)


def ready(root: Path, **options) -> ImageFolderDataModule:
    data = ImageFolderDataModule(str(root), **options)
    data.setup("fit")
    return data


def rows(data: ImageFolderDataModule, split: str) -> list[tuple[bytes, int]]:
    loaders = {"train": data.train_dataloader, "val": data.val_dataloader}
    loader = loaders.get(split, data.test_dataloader)()
    return sorted(
        (image.numpy().tobytes(), int(label))
        for images, labels in loader
        for image, label in zip(images, labels, strict=True)
    )


def test_shape_names_and_moments_are_those_of_the_images(shapes: Path) -> None:
    data = ready(shapes)
    assert data.image_shape == (3, 16, 16)
    assert data.class_names == sorted(CLASSES)
    assert [len(rows(data, split)) for split in ("train", "val", "test")] == [56, 12, 12]
    images, labels = next(iter(data.train_dataloader()))
    assert images.dtype == torch.uint8
    images, labels = data.on_after_batch_transfer((images, labels), 0)
    assert images.shape == (32, 3, 16, 16)
    whole = torch.cat([data.on_after_batch_transfer(b, 0)[0] for b in data.train_dataloader()])
    assert whole.mean(dim=(0, 2, 3)) == pytest.approx(torch.zeros(3), abs=1e-3)
    assert whole.std(dim=(0, 2, 3)) == pytest.approx(torch.ones(3), abs=1e-2)
    assert data.hparams["size"] == [16, 16]
    assert data.hparams["classes"] == sorted(CLASSES)
    assert data.hparams["mean"] == data.mean


def test_the_split_follows_the_seed_and_covers_each_class(shapes: Path) -> None:
    first, again, other = ready(shapes), ready(shapes), ready(shapes, seed=1)
    assert rows(first, "test") == rows(again, "test")
    assert rows(first, "test") != rows(other, "test")
    for split, count in (("train", 14), ("val", 3), ("test", 3)):
        labels = [label for _, label in rows(first, split)]
        assert np.bincount(labels).tolist() == [count] * 4
    whole, others = (
        sorted(row for split in ("train", "val", "test") for row in rows(data, split))
        for data in (first, other)
    )
    assert whole == others
    # Shares that are 0 leave nothing out.
    assert len(rows(ready(shapes, val_size=0, test_size=0), "train")) == 80


def test_the_first_test_images_are_of_several_classes(shapes: Path) -> None:
    _, labels = next(iter(ready(shapes, eval_batch_size=6).test_dataloader()))
    assert len(set(labels.tolist())) > 1


def test_broken_files_are_named_and_counted_and_copies_stay_together(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_folder(tmp_path / "shapes", side=16, count=400)
    broken = spoil(root)
    (root / CLASSES[0] / "notes.txt").write_text("what is in here")
    with (
        caplog.at_level(logging.INFO),
        pytest.warns(UserWarning, match="3 image files cannot be read, left out") as told,
        pytest.warns(UserWarning, match=r"1 file without the suffix of an image \(1 x .txt\)"),
    ):
        data = ready(root)
    said = " ".join(str(warning.message) for warning in told)
    for path in broken:
        assert path.name in said
    assert "2 duplicates of other images: " in caplog.text
    assert "; in the same split" in caplog.text
    found = {split: rows(data, split) for split in ("train", "val", "test")}
    assert sum(map(len, found.values())) == 399
    train = {image for image, _ in found["train"]}
    assert not train & {image for image, _ in found["test"] + found["val"]}
    # 399 images of 3 x 16 x 16, and the broken ones.
    assert "402 images of 4 classes as 3 x 16 x 16 take 0.3 MB of" in caplog.text
    assert "held on cpu" in caplog.text


def test_copies_in_other_splits_and_classes_are_told(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for split, seed in (("train", 0), ("test", 1)):
        make_folder(root / split, side=16, count=40, seed=seed)
    first = sorted((root / "train" / CLASSES[0]).iterdir())[0]
    shutil.copy(first, root / "test" / CLASSES[0] / "again.png")
    shutil.copy(first, root / "train" / CLASSES[1] / "other.png")
    with (
        pytest.warns(
            UserWarning, match=r"1 duplicate across splits, in test: .*again.png = .*, del"
        ),
        pytest.warns(UserWarning, match=r"1 image in two classes .*other.png = "),
    ):
        data = ready(root)
    # The folder test is kept as it is; the training images validate.
    assert len(rows(data, "test")) == 41
    assert len(rows(data, "val")) == 8


def test_images_of_many_sizes_are_read_at_one(tmp_path: Path) -> None:
    for name, side in (("a", 20), ("b", 300)):
        make_folder(tmp_path / "set", side=side, count=5, classes=(name,))
    data = ready(tmp_path / "set")
    assert data.image_shape == (3, 128, 128)
    assert ready(tmp_path / "set", size=24).image_shape == (3, 24, 24)
    assert ready(tmp_path / "set", size=[8, 24], gray=True).image_shape == (1, 8, 24)


def test_gray_files_have_one_channel(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "gray", side=16, count=40, gray=True)
    assert ready(root).image_shape == (1, 16, 16)
    assert ready(root, gray=False).image_shape == (3, 16, 16)
    Image.new("RGB", (16, 16), "red").save(root / CLASSES[0] / "red.png")
    assert ready(root).image_shape == (3, 16, 16)


def test_what_does_not_fit_is_decoded_by_workers(
    shapes: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The same batches in the same order, whether they were decoded before or are now."""
    resident = ready(shapes)
    monkeypatch.setattr("datamodules.image_folder.free_bytes", lambda device: 100_000)
    with caplog.at_level(logging.INFO):
        streamed = ready(shapes, num_workers=1)
    assert "decoded for every batch by 1 worker processes" in caplog.text
    assert not streamed.resident
    assert streamed.content == resident.content
    for split in ("train_dataloader", "test_dataloader"):
        for ours, theirs in zip(
            getattr(streamed, split)(), getattr(resident, split)(), strict=True
        ):
            assert torch.equal(ours[0], theirs[0])
            assert torch.equal(ours[1], theirs[1])


def test_free_memory_is_a_number_of_bytes() -> None:
    assert 10_000_000 < free_bytes(torch.device("cpu")) < 1 << 50


@pytest.mark.slow
def test_other_images_are_other_content(shapes: Path) -> None:
    before = ready(shapes).content
    path = next(shapes.rglob("*.png"))
    Image.new("RGB", (16, 16)).save(path)
    assert ready(shapes, test_size=0, val_size=0).content != before


@pytest.mark.slow
def test_training_images_are_augmented_one_by_one(shapes: Path, device: str) -> None:
    data = ImageFolderDataModule(str(shapes), augment=["RandomHorizontalFlip"], batch_size=16)
    data.trainer = quiet_trainer()
    data.setup("fit")
    raw = next(iter(data.val_dataloader()))
    plain, _ = data.on_after_batch_transfer(raw, 0)
    data.trainer.state.stage = "train"
    data.trainer.training = True
    moved, _ = data.on_after_batch_transfer(raw, 0)
    flipped = [torch.equal(a, b.flip(2)) for a, b in zip(moved, plain, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(moved, plain, strict=True)]
    assert any(flipped)
    assert any(same)
    assert all(a or b for a, b in zip(flipped, same, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 4}, "size must be"),
        ({"size": [3, 32, 32]}, "size must be"),
        ({"val_size": 0.6, "test_size": 0.5}, "must leave some of it"),
        ({"val_size": -0.1}, "val_size"),
        ({"mean": [0.5]}, "must be given together"),
        ({"mean": [0.5, 0.5], "std": [0.2, 0.2]}, "2 numbers and the images 3 channels"),
        ({"augment": ["RandomFlip"]}, "no transform 'RandomFlip'; did you mean Random"),
        ({"augment": [{"RandomCrop": {"size": 8}}]}, "it must keep both"),
        ({"val_size": 0.3, "test_size": 0.69}, "training, val and test need one each at least"),
    ],
)
def test_bad_options(shapes: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ready(shapes, **options)


def test_classes_of_too_few_or_too_many_broken_images(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "few", side=16, count=8)
    with pytest.raises(ValueError, match="has 2 different images, and training, val and test need"):
        ready(root)
    root = make_folder(tmp_path / "broken", side=16, count=40)
    for path in list(root.rglob("*.png"))[:30]:
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="More are broken than whole"):
        ready(root)


def test_nothing_to_test_on_is_said(shapes: Path) -> None:
    with pytest.raises(ValueError, match="no test images, because test_size is 0"):
        ready(shapes, test_size=0).test_dataloader()
