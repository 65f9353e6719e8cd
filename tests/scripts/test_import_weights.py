"""``import``: weights from elsewhere in the commands that take a run, and out again."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from datamodules import DigitsDataModule, MNISTDataModule
from inference import Classifier, load
from inference.runtimes.state_dict import PlainCNN, PlainMLP, read_state_dict
from lightning_modules import MNISTCNN, MNISTMLP
from scripts.import_weights import NORMALIZATIONS
from tests.conftest import quiet_trainer
from tests.helpers.commands import bad

Command = Callable[..., tuple[int, str, str]]
DIGITS = ("--data", "DigitsDataModule")
COURSE = ("--normalization", "course")


def accuracy(net: nn.Module, mean: float = 0.0, std: float = 1.0) -> float:
    """Of the scanned digits' test split, normalized so."""
    data = DigitsDataModule(mean=mean, std=std)
    data.setup("test")
    images, labels = next(iter(data.test_dataloader()))
    with torch.no_grad():
        return (net.eval()(images).argmax(1) == labels).float().mean().item()


def printed_accuracy(out: str) -> float:
    """``test/acc`` in what ``test`` prints."""
    found = re.search(r"test/acc +([0-9.]+)\n", out)
    assert found is not None, out
    return float(found[1])


def trained(net: nn.Module, epochs: int = 6) -> nn.Module:
    """A net trained on pixels in [0, 1] by hand, as the course's scripts do it."""
    data = DigitsDataModule(mean=0.0, std=1.0)
    data.setup("fit")
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(epochs):
        for images, labels in data.train_dataloader():
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
    return net.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "net"),
    [("MNISTCNN", PlainCNN((8, 16), 64, 10)), ("MNISTMLP", PlainMLP([784, 128, 64, 10]))],
)
def test_a_state_dict_is_tested_exported_and_classified_with(
    gpu_learning: Command, workplace: Path, model: str, net: nn.Module
) -> None:
    torch.save(trained(net).state_dict(), "course.pth")
    right = accuracy(net)
    assert right > 0.8
    code, out, err = gpu_learning(
        "import", "course.pth", "--model", model, *DIGITS, "--name", "mine", *COURSE
    )
    assert code == 0, err
    first = next(iter(net.state_dict()))
    assert any(line.startswith(first) for line in out.splitlines())
    run = Path("logs/mine/version_0")
    checkpoint = str(run / "checkpoints" / "best.ckpt")
    for config in (str(run / "config.yaml"), "configs/digits_cnn.yaml"):
        if model != "MNISTCNN" and "digits" in config:
            continue
        code, out, err = gpu_learning("test", "-c", config, "--ckpt_path", checkpoint)
        assert code == 0, err
        assert printed_accuracy(out) == round(right, 4)
    # Another normalization than the weights' own would cost points in silence.
    assert model != "MNISTCNN" or "std=1.0 comes from the checkpoint" in err
    code, out, err = gpu_learning("export", "logs/mine", "--format", "pth", "--device", "cpu")
    assert code == 0, err
    assert "imported from course.pth" in err
    exported = load("models/mine")
    assert isinstance(exported, Classifier)
    again = read_state_dict(exported.manifest.files["pth"].path)
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(again[name], tensor, rtol=0, atol=0)
    assert exported.predict(np.eye(28)).digit in range(10)
    # A second import is a run of its own.
    gpu_learning("import", "course.pth", "--model", model, *DIGITS, "--name", "mine", *COURSE)
    assert Path("logs/mine/version_1/checkpoints/best.ckpt").is_file()


def test_an_imported_backbone_is_transferred_with_its_normalization(
    gpu_learning: Command, small_mnist: Path, device: str
) -> None:
    torch.save(PlainCNN((8, 16), 64, 10).state_dict(), "course.pth")
    assert gpu_learning("import", "course.pth", "--model=MNISTCNN", "--name=b", *COURSE)[0] == 0
    backbone = "--model.init_args.backbone=logs/b/version_0/checkpoints/best.ckpt"
    options = [backbone, "--trainer.max_epochs=1", "--data.init_args.val_size=50"]
    fit = ["fit", "-c", "configs/transfer.yaml", *options]
    _, said = bad(gpu_learning, *fit)
    assert "give --data.init_args.mean 0.0 --data.init_args.std 1.0" in said
    code, _, err = gpu_learning(*fit, "--data.init_args.mean=0.0", "--data.init_args.std=1.0")
    assert code == 0, err


def test_normalizations_are_those_of_the_data() -> None:
    assert NORMALIZATIONS["mnist"] == (MNISTDataModule.mean, MNISTDataModule.std)


def test_what_is_not_certain_is_refused(gpu_learning: Command, workplace: Path) -> None:
    torch.save(PlainCNN((8, 16), 64, 10).state_dict(), "course.pth")
    torch.save(PlainCNN((8, 16), 64, 10), "whole.pth")
    torch.save({"steps": 3}, "numbers.pth")
    Path("junk.pth").write_bytes(b"junk")
    given = ["--model=MNISTCNN", "--name=b"]
    for arguments, message in (
        (["course.pth", *given], "give --normalization course"),
        (["course.pth", *given, "--mean=0.1"], "--mean and --std must be given together"),
        (["course.pth", *given, *COURSE, "--mean=0", "--std=1"], "give one of the two"),
        (["course.pth", "--model=MNISTMLP", "--name=b", *COURSE], "the file no weight of shape"),
        (["course.pth", *given, *COURSE, "--model.hidden=32"], "--model.ARGUMENT VALUE"),
        (["none.pth", *given, *COURSE], "none.pth does not exist"),
        (["junk.pth", *given, *COURSE], "junk.pth cannot be read as a state dict: it"),
        (["whole.pth", *given, *COURSE], "objects whose code would run"),
        (["numbers.pth", *given, *COURSE], "'steps', which is not a float tensor"),
    ):
        code, said = bad(gpu_learning, "import", *arguments)
        assert code == 1
        assert message in said
    assert not Path("logs").exists()
    assert gpu_learning("import", "course.pth", *given, *COURSE, "--modle=x")[0] == 2


def test_values_and_names_are_checked(gpu_learning: Command, workplace: Path) -> None:
    weights = PlainCNN((8, 16), 64, 10).state_dict()
    diverged = weights | {"fc2.bias": weights["fc2.bias"] / 0}
    cases = {
        "nan.pth": (diverged, "fc2.bias of the file holds NaN or infinity"),
        "int8.pth": ({n: t.to(torch.int8) for n, t in weights.items()}, "is torch.int8"),
        "nested.pth": ({"model": weights}, "holds 'model', which is a dictionary itself"),
    }
    for path, (content, expected) in cases.items():
        torch.save(content, path)
        code, _, err = gpu_learning(
            "import", path, "--model", "MNISTCNN", *DIGITS, "--name", "mine", *COURSE
        )
        assert code == 1
        assert expected in err
    torch.save(weights, "fine.pth")
    code, _, err = gpu_learning(
        "import", "fine.pth", "--model", "MNISTCNN", *DIGITS, "--name", "../evil", *COURSE
    )
    assert code == 1
    assert "'../evil' cannot name a model" in err
    assert not Path("logs").exists()
    assert not Path("../evil").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [MNISTCNN, MNISTMLP])
def test_checkpoints_of_a_plain_trainer_are_tested_and_exported(
    gpu_learning: Command, workplace: Path, kind: type[MNISTCNN | MNISTMLP], device: str
) -> None:
    module = kind(lr=0.003)
    trainer = quiet_trainer(max_epochs=2)
    trainer.fit(module, datamodule=DigitsDataModule())
    trainer.save_checkpoint("plain.ckpt")
    name = kind.__name__
    right = accuracy(module.net.cpu(), DigitsDataModule.mean, DigitsDataModule.std)
    code, out, err = gpu_learning(*("test", "--model", name, *DIGITS, "--ckpt_path", "plain.ckpt"))
    assert code == 0, err
    assert printed_accuracy(out) in [round(right + image / 360, 4) for image in (-1, 0, 1)]
    export = ["export", "plain.ckpt", "--name=plain", "--format=pth", "--device=cpu"]
    assert "name it with --model" in bad(gpu_learning, *export)[1]
    assert "name it with --data" in bad(gpu_learning, *export, "--model", name)[1]
    other = "MNISTMLP" if name == "MNISTCNN" else "MNISTCNN"
    assert f"does not fit {other}" in bad(gpu_learning, *export, "--model", other, *DIGITS)[1]
    code, out, err = gpu_learning(*export, "--model", name, *DIGITS)
    assert code == 0, err
    # The state dict takes pixels: what a plain ToTensor yields.
    weights = read_state_dict(next(Path("models/plain").glob("pth-*.pth")))
    plain = PlainCNN((8, 16), 64, 10) if name == "MNISTCNN" else PlainMLP([784, 128, 64, 10])
    plain.load_state_dict(weights)
    assert accuracy(plain) == pytest.approx(right, abs=1 / 360 + 1e-6)


def test_a_checkpoint_of_a_trainer_without_data_module_says_what_to_do(
    gpu_learning: Command, workplace: Path
) -> None:
    data = DigitsDataModule(mean=0.0, std=1.0)
    data.setup("fit")
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data._splits["val"]), 30)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(MNISTCNN(), loader, loader)
    trainer.save_checkpoint("loader.ckpt")
    _, said = bad(gpu_learning, "export", "loader.ckpt", "--name=x", "--model=MNISTCNN")
    assert "gpu-learning import, which asks for that" in said
    code, _, err = gpu_learning(
        *("import", "loader.ckpt", "--model=MNISTCNN", "--name=x", *DIGITS, *COURSE)
    )
    assert code == 0, err


@pytest.mark.slow
@pytest.mark.parametrize(("config", "off"), [("mnist_mlp", 0.0), ("mnist_cnn", 2e-4)])
@pytest.mark.parametrize("options", [[], ["--data.init_args.mean=0", "--data.init_args.std=1"]])
def test_an_exported_pth_has_the_accuracy_of_its_checkpoint(
    gpu_learning: Command, mnist_root: Path, config: str, off: float, options: list[str]
) -> None:
    """On MNIST's own test split: equal, but for a CNN behind a mean, see exporting's pixel_net."""
    fit = ["fit", "-c", f"configs/{config}.yaml", f"--data.init_args.root={mnist_root}"]
    assert gpu_learning(*fit, *options, "--trainer.max_epochs=1")[0] == 0
    code, _, err = gpu_learning("export", f"logs/{config}", "--format=pth", "--device=cpu")
    assert code == 0, err
    artifact = load(f"models/{config}")
    assert isinstance(artifact, Classifier)
    document = artifact.manifest.document
    checked = document["files"]["pth"]["checked"]
    loss = off if not options else 0.0
    assert checked["accuracy"] == pytest.approx(document["eager"]["accuracy"], abs=loss + 1e-9)
    data = MNISTDataModule(root=str(mnist_root), mean=0.0, std=1.0)
    data.setup("test")
    images, labels = data._splits["test"]
    weights = read_state_dict(artifact.manifest.files["pth"].path)
    plain = PlainCNN((8, 16), 64, 10) if "cnn" in config else PlainMLP([784, 128, 64, 10])
    plain.load_state_dict(weights)
    with torch.no_grad():
        right = (plain(images).argmax(1) == labels).float().mean().item()
    assert right == pytest.approx(checked["accuracy"], abs=1e-4)


@pytest.fixture
def mnist_root() -> Path:
    """The checkout's ``data/`` with MNIST's files in it."""
    root = Path(__file__).parents[2] / "data"
    if not (root / "MNIST" / "raw" / "t10k-images-idx3-ubyte").is_file():
        pytest.skip(f"MNIST is not in {root}")
    return root
