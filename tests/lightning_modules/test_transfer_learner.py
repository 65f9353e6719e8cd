"""Transfer learning from a CNN trained for one epoch on the scanned digits."""

import hashlib
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from exporting.images import export, read_source
from inference import Classifier, load
from lightning_modules import TransferLearner
from training.cli import TrainCLI

DIGITS = ("--data=datamodules.DigitsDataModule", "--data.init_args.classes=[0,1,2,3,4]")
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    configs = Path(__file__).parents[2] / "configs"
    TrainCLI(
        [
            *("fit", "-c", str(configs / "digits_cnn.yaml"), "--trainer.max_epochs=2", *QUIET),
            *(f"--trainer.logger.init_args.save_dir={folder}",),
        ]
    )
    return next(folder.rglob("best.ckpt"))


def transfer(backbone: Path, *options: str) -> TrainCLI:
    return TrainCLI(
        [
            *("fit", "-c", "configs/transfer.yaml", *DIGITS, *QUIET),
            *(f"--model.init_args.backbone={backbone}", *options),
        ]
    )


class StopAt(pl.Callback):
    """Asks the run to stop after so many optimizer steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        trainer.should_stop |= trainer.global_step == self.step


def test_only_the_new_layer_learns(backbone: Path, device: str) -> None:
    cli = transfer(backbone)
    learned = [p for p in cli.model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in learned) == 325
    before = torch.load(backbone, weights_only=True)["state_dict"]
    now = cli.model.state_dict()
    for name in ("conv1.weight", "conv2.bias", "fc1.weight"):
        assert torch.equal(now[f"net.backbone.{name}"], before[f"net.{name}"])
    assert cli.trainer.test(cli.model, cli.datamodule, verbose=False)[0]["test/acc"] > 0.9


def test_checkpoint_names_the_backbone_and_stands_alone(
    backbone: Path, tmp_path: Path, device: str
) -> None:
    moved = tmp_path / "moved.ckpt"
    moved.write_bytes(backbone.read_bytes())
    cli = transfer(moved, "--trainer.max_epochs=1")
    last = Path(cli.trainer.checkpoint_callback.dirpath) / "last.ckpt"
    sha256 = hashlib.sha256(backbone.read_bytes()).hexdigest()
    assert torch.load(last, weights_only=True)["backbone"]["sha256"] == sha256
    moved.unlink()
    loaded = TransferLearner.load_from_checkpoint(last, map_location="cpu", weights_only=True)
    assert loaded.backbone_sha256 == sha256
    images = torch.randn(2, 1, 28, 28)
    assert torch.equal(loaded.eval()(images), cli.model.eval()(images))


@pytest.mark.filterwarnings("ignore:The requires_grad attribute:UserWarning")
def test_unfreezing_is_one_argument(backbone: Path, device: str) -> None:
    cli = transfer(backbone, "--model.init_args.unfreeze_after=1", "--trainer.max_epochs=2")
    assert all(p.requires_grad for p in cli.model.parameters())
    before = torch.load(backbone, weights_only=True)["state_dict"]["net.fc1.weight"]
    assert not torch.equal(cli.model.state_dict()["net.backbone.fc1.weight"], before)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The requires_grad attribute:UserWarning")
@pytest.mark.parametrize("step", [10, 20, 25, 60])
def test_a_resumed_backbone_learns_on(backbone: Path, step: int) -> None:
    """Steps 20, 40 and 60 end an epoch; the backbone learns from 20 on."""
    options = (
        *("--model.init_args.unfreeze_after=1", "--trainer.max_epochs=4"),
        *("--trainer.limit_train_batches=20", "--data.init_args.batch_size=16"),
        "--trainer.logger.init_args.name=resumed",
    )
    whole = transfer(backbone, *options)
    stop = StopAt(step)
    cut = TrainCLI(
        [
            *("fit", "-c", "configs/transfer.yaml", *DIGITS, *QUIET, *options),
            f"--model.init_args.backbone={backbone}",
        ],
        run=False,
    )
    cut.trainer.callbacks.insert(0, stop)
    cut.trainer.fit(cut.model, cut.datamodule)
    resumed = transfer(backbone, *options, "--ckpt_path=last")
    assert resumed.trainer.global_step == whole.trainer.global_step == 80
    for name, weights in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], weights), name


@pytest.mark.parametrize("content", [None, b"nothing of the kind", "mlp"])
def test_backbone_missing_or_foreign(gpu_learning, tmp_path: Path, content) -> None:
    path = tmp_path / "backbone.ckpt"
    if content == "mlp":
        torch.save({"state_dict": {"net.1.weight": torch.zeros(3)}}, path)
    elif content:
        path.write_bytes(content)
    code, _, err = gpu_learning(
        *("fit", "-c", "configs/transfer.yaml", *DIGITS),
        f"--model.init_args.backbone={path}",
    )
    assert code == 1
    assert (
        "there is no backbone" if content is None else "is not a checkpoint of an MNISTCNN"
    ) in err
    assert "configs/mnist_cnn_backbone.yaml" in err
    assert "Traceback" not in err


def test_backbone_of_another_width(gpu_learning, backbone: Path) -> None:
    code, _, err = gpu_learning(
        *("fit", "-c", "configs/transfer.yaml", *DIGITS),
        *(f"--model.init_args.backbone={backbone}", "--model.init_args.hidden=32"),
    )
    assert code == 1
    assert "hidden 32" in err


def test_classes_outside_the_digits(gpu_learning, backbone: Path) -> None:
    code, _, err = gpu_learning(
        *("fit", "-c", "configs/transfer.yaml", "--data=datamodules.DigitsDataModule"),
        *(f"--model.init_args.backbone={backbone}", "--data.init_args.classes=[3,12]"),
    )
    assert code != 0
    assert "classes must be different digits from 0 to 9, got [3, 12]" in err


@pytest.mark.slow
def test_it_is_exported_like_any_other(backbone: Path, tmp_path: Path, device: str) -> None:
    pytest.importorskip("onnxruntime", reason="the extra [export] is not installed")
    digits = "--data.init_args.classes=[9,8,7,6,5]"
    cli = transfer(backbone, "--trainer.max_epochs=1", digits)
    source = read_source(Path(cli.trainer.checkpoint_callback.dirpath) / "last.ckpt")
    export(source, tmp_path / "transfer", ["onnx", "onnx-int8", "torchscript"], "cpu")
    model = load(tmp_path / "transfer", "onnx-int8")
    assert isinstance(model, Classifier)
    # In the order of the net's outputs, which is that of the digits.
    assert model.manifest.labels == ("5", "6", "7", "8", "9")
    right = (model(source.inputs).argmax(1) == source.targets).mean()
    assert right == pytest.approx(model.manifest.document["eager"]["accuracy"], abs=0.01)
