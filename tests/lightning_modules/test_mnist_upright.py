import math
from pathlib import Path

import pytest
import torch

from datamodules import DigitsDataModule
from exporting.images import export, make_source
from inference import load
from lightning_modules import MNISTUpright, TransferLearner
from tests.conftest import quiet_trainer
from tests.lightning_modules.nets.test_moments import leaning


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    run = quiet_trainer(max_epochs=8)
    jitter = {"jitter_rotate": 6, "jitter_shift": 1, "jitter_zoom": 0.1, "jitter_warp": 0.5}
    run.fit(MNISTUpright(lr=3e-3, **jitter), datamodule=DigitsDataModule())
    path = tmp_path_factory.mktemp("upright") / "last.ckpt"
    run.save_checkpoint(path)
    return path


def test_leaning_digits_are_read_as_well(checkpoint: Path) -> None:
    model = MNISTUpright.load_from_checkpoint(checkpoint, weights_only=True).eval()
    assert model.hparams["jitter_warp"] == 0.5
    data = DigitsDataModule()
    data.setup("test")
    images, labels = next(iter(data.test_dataloader()))
    background = images.min()
    slanted = leaning(images - background, slant=0.4, right=0, down=0) + background
    with torch.inference_mode():
        straight = (model(images).argmax(1) == labels).float().mean()
        aslant = (model(slanted).argmax(1) == labels).float().mean()
    assert straight > 0.9
    assert aslant > straight - 0.02


@pytest.mark.slow
def test_its_files_put_images_upright_themselves(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra [export] is not installed")
    source = make_source(checkpoint, MNISTUpright, DigitsDataModule())
    formats = ["onnx-int8", "pt2", "torchscript", "safetensors"]
    document = export(source, tmp_path / "upright", formats, "cpu")
    assert document["parameters"] == 52_138
    assert document["files"]["safetensors"]["checked"]["tensors"] == 10
    model = load(tmp_path / "upright", "onnx-int8")
    right = (model(source.inputs).argmax(1) == source.targets).mean()
    assert right == pytest.approx(document["eager"]["accuracy"], abs=0.01)


def test_it_is_no_backbone(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a checkpoint of an MNISTCNN.*normalize\.across"):
        TransferLearner()._load_backbone(checkpoint)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jitter_rotate", -1),
        ("jitter_shift", math.nan),
        ("jitter_zoom", 1),
        ("jitter_warp", math.inf),
        ("scale", math.nan),
        ("widen", 2),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*, got {value}"):
        MNISTUpright(**{name: value})


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_train(dtype: torch.dtype) -> None:
    model = MNISTUpright(jitter_rotate=6, jitter_warp=0.5).to(dtype).train()
    assert model(torch.rand(2, 1, 28, 28, dtype=dtype)).dtype == dtype
