"""Exports: what is proved, what is refused, and what a kill leaves behind."""

from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from callbacks import Export, ExportText
from exporting.images import Source, export
from exporting.images.gate import answers_of
from exporting.prober import Prober
from inference import load
from inference.manifest import read_manifest
from tests.conftest import quiet_trainer


def need_export() -> None:
    pytest.importorskip("onnxscript", reason="the extra [export] is not installed")
    pytest.importorskip("onnxruntime", reason="the extra [export] is not installed")


def source(net: nn.Module, values: np.ndarray | None = None) -> Source:
    inputs = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    targets = (inputs.sum(1) > 0).astype(np.int64) if values is None else values
    description = {"task": "tensor", "input": {"shape": [2], "dtype": "float32"}, "labels": None}
    return Source(net.eval().requires_grad_(False), inputs, targets, description)


def test_the_callback_left_a_proved_artifact(artifact: Path) -> None:
    document = read_manifest(artifact).document
    assert set(document["files"]) == {
        "torchscript",
        "int8",
        "onnx",
        "onnx-int8",
        "pt2",
        "safetensors",
    }
    assert document["model"] == "lightning_modules.mnist_cnn.MNISTCNN"
    assert document["parameters"] == 52_138
    assert document["labels"] == [str(digit) for digit in range(10)]
    assert document["input"] == {
        "shape": [1, 28, 28],
        "dtype": "float32",
        "mean": [0.1558],
        "std": [0.2774],
    }
    best = artifact.parents[1] / document["source"]["checkpoint"]
    assert best.name == "best.ckpt"
    for name, entry in document["files"].items():
        checked = entry["checked"]
        if name == "safetensors":
            assert checked == {"tensors": 8, "bit_equal": True}
            continue
        assert checked["inputs"] == 360
        assert checked["max_difference"] < (2 if "int8" in name else 1e-3)
        assert entry["latency"]["1"]["ratio_to_eager"]["median"] > 0
        if "int8" in name:
            assert len(checked["int8_operations"]) >= 1
            assert entry["bytes"] < 67_000
    assert not list(artifact.parent.glob(".*"))


def test_the_weights_are_the_checkpoints(artifact: Path) -> None:
    from safetensors.numpy import load as read

    document = read_manifest(artifact).document
    checkpoint = torch.load(
        artifact.parents[1] / document["source"]["checkpoint"], weights_only=True
    )
    weights = read(read_manifest(artifact).files["safetensors"].read())
    for name, tensor in weights.items():
        np.testing.assert_array_equal(tensor, checkpoint["state_dict"][f"net.{name}"].numpy())


class LiesInTorchScript(nn.Module):
    """Answers rightly in eager and wrongly once it was scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.linear(x)
        if torch.jit.is_scripting():  # type: ignore[reportPrivateImportUsage]
            return -logits
        return logits


@pytest.mark.slow
def test_a_file_that_answers_otherwise_is_removed_and_the_old_one_stays(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "net"
    export(source(nn.Sequential(nn.Linear(2, 3))), folder, ["torchscript"], "cpu")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=r"torchscript file does not do what the model does"):
        export(source(LiesInTorchScript()), folder, ["torchscript"], "cpu")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["net"]


def test_a_net_whose_training_diverged_is_refused(tmp_path: Path) -> None:
    need_export()
    net = nn.Sequential(nn.Linear(2, 3))
    with torch.no_grad():
        net[0].weight[0, 0] = torch.nan
    for formats in (["onnx"], ["safetensors"]):
        with pytest.raises(ValueError, match=r"NaN or infinite: its training diverged"):
            export(source(net), tmp_path / "models" / "net", formats, "cpu")
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.parametrize("kind", ["onnx", "pt2", "safetensors", "torchscript"])
def test_a_disk_that_is_full_leaves_the_old_artifact(tmp_path: Path, kind: str) -> None:
    """No file may grow beyond 20,000 bytes; the weights alone are 36,000."""
    if kind == "onnx":
        need_export()
    resource = pytest.importorskip("resource", reason="limits of a process are Unix's")
    folder = tmp_path / "models" / "net"
    export(source(nn.Sequential(nn.Linear(2, 3))), folder, ["safetensors"], "cpu")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(ValueError, match="net could not be written, and what was there stays"):
            export(source(nn.Sequential(nn.Linear(2, 3000))), folder, [kind], "cpu")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["net"]


@pytest.mark.slow
def test_small_matrices_stay_in_float(tmp_path: Path) -> None:
    """Quantizing the input of a small product takes longer than the product."""
    onnx = pytest.importorskip("onnx", reason="the extra [export] is not installed")
    net = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 128), nn.ReLU())
    net = nn.Sequential(*net, nn.Linear(128, 3))
    for name, whole in (("mixed", net), ("small", nn.Sequential(nn.Linear(2, 3)))):
        document = export(source(whole), tmp_path / name, ["onnx-int8"], "cpu")
        assert len(document["files"]["onnx-int8"]["checked"]["int8_operations"]) == 1
        stored = onnx.load(read_manifest(tmp_path / name).files["onnx-int8"].path).graph.initializer
        kinds = {values.data_type for values in stored}
        # Signed ones overflow on CPUs without VNNI.
        assert onnx.TensorProto.UINT8 in kinds
        assert onnx.TensorProto.INT8 not in kinds


@pytest.mark.slow
def test_one_logit_and_regressions_are_compared_too(tmp_path: Path) -> None:
    need_export()
    net = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
    one = export(source(net), tmp_path / "binary", ["torchscript", "onnx"], "cpu")
    assert one["files"]["onnx"]["checked"]["agreement"] == 1
    assert one["eager"]["accuracy"] is not None
    line = source(net, np.linspace(-3, 9, 300).astype(np.float32))
    two = export(line, tmp_path / "line", ["onnx"], "cpu")
    assert two["eager"]["accuracy"] is None
    outputs = load(tmp_path / "line")(line.inputs)
    np.testing.assert_allclose(outputs, net(torch.from_numpy(line.inputs)), atol=1e-5)


def test_answers() -> None:
    targets = np.array([0, 1])
    np.testing.assert_array_equal(answers_of(np.array([[1, 2], [3, 0]]), targets), [1, 0])
    np.testing.assert_array_equal(answers_of(np.array([[-1.0], [2.0]]), targets), [0, 1])
    assert answers_of(np.array([[-1.0], [2.0]]), np.array([0.5, 2.0])) is None


@pytest.mark.parametrize(
    ("formats", "device", "name", "message"),
    [
        (["gguff"], "cpu", "net", "no format 'gguff'; there are"),
        ([], "cpu", "net", "no format given"),
        (["onnx", "onnx"], "cpu", "net", "twice"),
        (["pt2-fp16"], "cpu", "net", "CUDA"),
        (["onnx"], "cpu", ".hidden", "cannot name a model"),
        (["int8"], "cpu", "net", "none"),
    ],
)
def test_what_cannot_be_exported_is_said_before(
    tmp_path: Path, formats: list[str], device: str, name: str, message: str
) -> None:
    if "onnx" in formats:
        need_export()
    with pytest.raises(ValueError, match=message):
        export(source(nn.Sequential(nn.ReLU())), tmp_path / name, formats, device)
    assert not list(tmp_path.glob("*.onnx"))


def test_the_callback_refuses_before_the_training() -> None:
    trainer = quiet_trainer()
    for callback, message in (
        (Export("net", formats=("nonsense",)), "no format"),
        (Export("net", formats=("torchscript",)), "datamodule"),
    ):
        with pytest.raises(ValueError, match=message):
            callback.on_fit_start(trainer, pl.LightningModule())
    with pytest.raises(ValueError, match="device"):
        Export("net", device="tpu")
    for callback in (Export, ExportText):
        for name in ("../../evil_out", "", ".hidden", "a/b"):
            with pytest.raises(ValueError, match="cannot name a model"):
                callback(name)
    Path("models/gpt2").mkdir(parents=True)
    Path("models/gpt2/config.json").touch()
    with pytest.raises(ValueError, match="gpt2 was not made by gpu-learning export"):
        ExportText("gpt2").on_fit_start(trainer, pl.LightningModule())


def test_a_file_that_kills_its_reader_is_told_by_its_signal() -> None:
    with Prober() as prober:
        prober._process.kill()
        with pytest.raises(ValueError, match="was ended by signal 9"):
            prober.ask("open", folder="models", format="pt2", device="cpu", threads=1)
