from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from datamodules import DigitsDataModule, MNISTDataModule
from datamodules.digits import SPLIT, read_digits
from lightning_modules import MNISTMLP
from tests.conftest import quiet_trainer


def labels(loader) -> torch.Tensor:
    return torch.cat([batch[1] for batch in loader])


def test_digits_split_is_fixed() -> None:
    data = DigitsDataModule()
    data.setup("fit")
    data.setup("test")
    assert [
        len(labels(load()))
        for load in (data.train_dataloader, data.val_dataloader, data.test_dataloader)
    ] == [1257, 180, 360]
    images, truth = next(iter(data.test_dataloader()))
    assert images.shape == (360, 1, 28, 28)
    assert images.dtype == torch.float32
    assert truth[:8].tolist() == [7, 6, 3, 7, 7, 3, 2, 8]


def test_the_digits_are_those_of_scikit_learn() -> None:
    theirs = load_digits()
    images, labels = read_digits()
    np.testing.assert_array_equal(images, theirs.images)
    np.testing.assert_array_equal(labels, theirs.target)
    split = train_test_split(np.arange(1797), test_size=360, stratify=theirs.target, random_state=0)
    for line, rows in zip(SPLIT.read_text().splitlines(), split, strict=True):
        assert line.split() == [str(row) for row in rows]


def test_digits_are_normalized() -> None:
    data = DigitsDataModule(val_size=0)
    data.setup("fit")
    images = torch.cat([batch[0] for batch in data.train_dataloader()])
    assert images.mean().abs() < 0.01
    assert (images.std() - 1).abs() < 0.01


def test_train_and_val_share_nothing_and_follow_the_seed() -> None:
    def split(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        data = DigitsDataModule(seed=seed, val_size=300)
        data.setup("fit")
        return data._splits["train"][0].flatten(1), data._splits["val"][0].flatten(1)

    train, val = split(0)
    assert len(train) + len(val) == 1437
    whole = torch.cat([train, val])
    assert len(torch.unique(whole, dim=0)) == len(torch.unique(train, dim=0)) + len(
        torch.unique(val, dim=0)
    )
    assert torch.equal(split(0)[1], val)
    assert not torch.equal(split(1)[1], val)


def test_training_images_alone_are_moved(device: str) -> None:
    seen: dict[str, torch.Tensor] = {}

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            seen["train"] = batch[0].clone()

        def on_validation_batch_start(self, trainer, pl_module, batch, *_) -> None:
            seen["val"] = batch[0].clone()

        def on_test_batch_start(self, trainer, pl_module, batch, *_) -> None:
            seen["test"] = batch[0].clone()

    data = DigitsDataModule(batch_size=2000, rotate=20.0, shift=2.0, zoom=0.1)
    model, run = MNISTMLP(hidden=(8,)), quiet_trainer(max_epochs=1, callbacks=[Watch()])
    run.fit(model, datamodule=data)
    order = run.train_dataloader.order(0)
    run.test(model, datamodule=data, verbose=False)
    assert torch.equal(seen["val"], data._splits["val"][0])
    assert torch.equal(seen["test"], data._splits["test"][0])
    still = data._splits["train"][0][order]
    assert seen["train"].shape == still.shape
    assert ((seen["train"] - still).abs().amax(dim=(1, 2, 3)) > 0.1).float().mean() > 0.99


def test_classes_are_filtered_and_renumbered() -> None:
    data = DigitsDataModule(classes=[7, 5, 6], val_size=20)
    data.setup("fit")
    assert set(labels(data.train_dataloader()).tolist()) == {0, 1, 2}
    everything = DigitsDataModule()._read(train=True)[1]
    assert len(labels(data.train_dataloader())) + 20 == int(
        torch.isin(everything, torch.tensor([5, 6, 7])).sum()
    )


def test_host_memory_gives_the_same_images() -> None:
    resident, host = DigitsDataModule(), DigitsDataModule(resident=False)
    for data in (resident, host):
        data.setup("fit")
        data.setup("test")
    left = torch.cat([batch[0] for batch in resident.test_dataloader()])
    right = torch.cat([batch[0] for batch in host.test_dataloader()])
    assert torch.equal(left, right)
    assert sorted(labels(host.train_dataloader()).tolist()) == sorted(
        labels(resident.train_dataloader()).tolist()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": [0, 10]}, "0 to 9"),
        ({"classes": []}, "0 to 9"),
        ({"classes": [1, 1]}, "0 to 9"),
        ({"val_size": -1}, "val_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"eval_batch_size": -5}, "eval_batch_size"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DigitsDataModule(**arguments)


def test_val_size_that_leaves_nothing() -> None:
    data = DigitsDataModule(val_size=1437)
    with pytest.raises(ValueError, match="none of the 1437 training images; take at most 1436"):
        data.setup("fit")


def test_mnist_reads_its_own_format(small_mnist: Path) -> None:
    data = MNISTDataModule(root=str(small_mnist), val_size=100)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    images, truth = DigitsDataModule()._read(train=True)
    assert torch.equal(labels(data.test_dataloader()), truth[600:800])
    restored = next(iter(data.test_dataloader()))[0] * data.std + data.mean
    assert torch.allclose(restored[:, 0] * 255, images[600:800].float(), atol=1e-3)
    assert len(labels(data.train_dataloader())) == 500
