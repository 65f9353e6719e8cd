"""TransferLearner over torchvision's classifiers, with weights from a file."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from torchvision.models import mobilenet_v3_small, resnet18

from datamodules import ImageFolderDataModule
from lightning_modules import TransferLearner
from lightning_modules.backbones import build_backbone, is_torchvision
from tests.conftest import quiet_trainer
from tests.helpers.image_folders import CLASSES, make_folder


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("set") / "shapes", side=32, count=80)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict as torchvision's files have it; its net was never trained."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "mobilenet.pth"
    torch.save(mobilenet_v3_small(weights=None).state_dict(), path)
    return path


def learner(weights: Path | str, **options) -> TransferLearner:
    return TransferLearner(
        "mobilenet_v3_small", num_classes=None, weights=str(weights), lr=1e-3, **options
    )


class Kept(Callback):
    """The backbone's tensors after each epoch, statistics of the batch norms among them."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        state = pl_module.backbone.state_dict()
        self.states.append({name: tensor.cpu().clone() for name, tensor in state.items()})


@pytest.mark.filterwarnings("ignore:The requires_grad attribute:UserWarning")
def test_frozen_and_then_unfrozen(shapes: Path, weights: Path, device: str) -> None:
    kept = Kept()
    module = learner(weights, unfreeze_after=1)
    data = ImageFolderDataModule(str(shapes))
    quiet_trainer(max_epochs=2, callbacks=[kept]).fit(module, data)
    assert module.num_classes == len(CLASSES)
    given = torch.load(weights, weights_only=True)
    first, second = kept.states
    for name, tensor in first.items():
        assert torch.equal(tensor, given[name]), name
    changed = [name for name, tensor in second.items() if not torch.equal(tensor, given[name])]
    assert "features.0.0.weight" in changed
    assert "features.0.1.running_mean" in changed
    assert module.backbone.training


@pytest.mark.parametrize("none", [None, "none"])
def test_a_backbone_without_weights_is_random(shapes: Path, none: str | None, device: str) -> None:
    module = TransferLearner("mobilenet_v3_small", num_classes=None, weights=none)
    trainer = quiet_trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    trainer.fit(module, ImageFolderDataModule(str(shapes)))
    assert module.backbone_sha256 == "none"


def test_only_the_new_layer_learns(shapes: Path, weights: Path, device: str) -> None:
    module = learner(weights)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, ImageFolderDataModule(str(shapes)))
    learned = [name for name, one in module.named_parameters() if one.requires_grad]
    assert learned == ["net.head.weight", "net.head.bias"]
    assert not module.backbone.training
    path = shapes.parent / "last.ckpt"
    trainer.save_checkpoint(path)
    assert torch.load(path, weights_only=True)["backbone"]["path"] == "mobilenet_v3_small"
    # Its own weights are in the checkpoint: no file of them is needed any more.
    loaded = TransferLearner.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded.eval()(images), module.cpu().eval()(images))


def test_gray_images_become_color(tmp_path: Path, weights: Path, device: str) -> None:
    root = make_folder(tmp_path / "gray", side=32, count=40, gray=True)
    module = learner(weights)
    quiet_trainer(max_epochs=1, limit_train_batches=1).fit(module, ImageFolderDataModule(str(root)))
    assert module.cpu().eval()(torch.randn(2, 1, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "densenet121", "efficientnet_b0"])
def test_the_last_linear_layer_is_the_one_that_goes(name: str) -> None:
    net, features = build_backbone(name, (3, 64, 64))
    assert net(torch.zeros(2, 3, 64, 64)).shape == (2, features)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_b_16", r"vit_b_16 cannot take images of 64 x 64 .* --data.init_args.size 224"),
        ("squeezenet1_1", "has no single linear layer at its end"),
    ],
)
def test_nets_that_cannot_be_a_backbone(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_backbone(name, (3, 64, 64))


def test_names_and_files_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_torchvision("resnet18")
    assert not is_torchvision("logs/a/best.ckpt")
    with pytest.raises(ValueError, match=r"no classifier 'resnet81' .* did you mean resnet18"):
        TransferLearner("resnet81")


def test_weights_that_are_not_there(
    shapes: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    # A port of this machine where nothing listens: refused at once, as without a network.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    other = tmp_path / "other.pth"
    torch.save(resnet18(weights=None).state_dict(), other)
    text = tmp_path / "text.pth"
    text.write_text("no weights")
    for given, message in (
        (
            "DEFAULT",
            r"could not be downloaded .* fetch https://.*\.pth elsewhere and name",
        ),
        ("IMAGENET", "has no weights 'IMAGENET' for mobilenet_v3_small; it has IMAGENET1K_V1"),
        (tmp_path / "missing.pth", "there is no file of weights"),
        (other, "does not hold the weights of torchvision's mobilenet_v3_small"),
        (text, "cannot be read as a state dict: it is cut off"),
    ):
        with pytest.raises(ValueError, match=message):
            quiet_trainer(max_epochs=1).fit(learner(given), ImageFolderDataModule(str(shapes)))
