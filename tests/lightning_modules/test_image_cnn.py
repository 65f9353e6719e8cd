"""A module that takes its shape from the data."""

from pathlib import Path

import pytest
import torch

from datamodules import DigitsDataModule, ImageFolderDataModule
from lightning_modules import MNISTCNN, ImageCNN
from lightning_modules.nets import ConvNet
from tests.conftest import quiet_trainer
from tests.helpers.image_folders import make_folder


@pytest.mark.parametrize(("channels", "side", "stride"), [(1, 64, 1), (3, 32, 1), (3, 224, 4)])
def test_one_net_takes_every_size(channels: int, side: int, stride: int) -> None:
    net = ConvNet(channels, (4, 8), 5, stride).eval()
    assert net(torch.randn(3, channels, side, side + 8)).shape == (3, 5)
    last = net.stages(net.stem(torch.zeros(1, channels, side, side)))
    assert last.shape[2] == side // stride // 4


def test_shape_and_classes_come_from_the_data_and_stay(tmp_path: Path, device: str) -> None:
    root = make_folder(tmp_path / "shapes", side=16, count=60, classes=("a", "b c", "d"))
    module = ImageCNN(widths=(4, 8))
    data = ImageFolderDataModule(str(root))
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, data)
    assert module.num_classes == 3
    assert module.image_shape == (3, 16, 16)
    assert module.example_input_array.shape == (1, 3, 16, 16)
    scores = trainer.test(module, data, verbose=False)[0]
    assert {"test/acc", "test/acc_a", "test/acc_b c", "test/acc_d"} <= scores.keys()
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)
    loaded = ImageCNN.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(loaded(images), module.cpu().eval()(images))
    hparams = torch.load(path, weights_only=True)["datamodule_hyper_parameters"]
    assert hparams["classes"] == ["a", "b c", "d"]
    assert hparams["size"] == [16, 16]


def test_what_does_not_fit_the_data_is_refused(tmp_path: Path, device: str) -> None:
    root = make_folder(tmp_path / "shapes", side=16, count=60, classes=("a", "b", "d"))
    for module, message in (
        (MNISTCNN(num_classes=3), "images of 3 x 16 x 16, MNISTCNN takes 1 x 28 x 28; .*ImageCNN"),
        (ImageCNN(2, (3, 16, 16)), "has 3 classes, ImageCNN tells 2 apart; leave"),
        (ImageCNN(image_shape=(1, 16, 16)), "takes 1 x 16 x 16; leave --model.init_args.image_sh"),
        (ImageCNN(widths=(4, 4, 4, 4, 4)), "need images of at least 32 x 32, and these are 16 x"),
    ):
        with pytest.raises(ValueError, match=message):
            quiet_trainer(max_epochs=1).fit(module, ImageFolderDataModule(str(root)))
    loader = torch.utils.data.DataLoader(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"both must be given: ImageCNN\(num_classes"):
        quiet_trainer(max_epochs=1).fit(ImageCNN(), loader, loader)


def test_outputs_without_a_class_are_told_before_the_training(device: str) -> None:
    said = "DigitsDataModule has 2 classes, ImageCNN tells 5 apart, .*num_classes 2$"
    trainer = quiet_trainer(max_epochs=1, limit_train_batches=1)
    with pytest.warns(UserWarning, match=said):
        trainer.fit(ImageCNN(num_classes=5, widths=(4, 8)), DigitsDataModule(classes=[3, 5]))


def test_it_takes_the_digits_too(device: str) -> None:
    module = ImageCNN(widths=(4, 8))
    data = DigitsDataModule(classes=[3, 5, 7], augment=["RandomInvert"])
    trainer = quiet_trainer(max_epochs=1, limit_train_batches=2)
    trainer.fit(module, data)
    assert module.image_shape == (1, 28, 28)
    scores = trainer.test(module, data, verbose=False)[0]
    assert {"test/acc_3", "test/acc_5", "test/acc_7"} <= scores.keys()
