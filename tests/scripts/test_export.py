"""``export``, ``classify`` and ``bench infer``, as a user calls them."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from inference import Classifier, Model, load
from inference.manifest import read_manifest
from scripts.bench import infer as bench_infer
from scripts.bench import infer_candidates as infer_arms

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pictures(workplace: Path) -> Path:
    """The 1,797 scanned digits as PNG files of 8 x 8 pixels, their digit at the end of the name."""
    folder = workplace / "pictures"
    folder.mkdir()
    digits = load_digits()
    for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        pixels = (image * (255 / 16)).round().astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}-{digit}.png")
    return folder


def share_right(lines: str) -> float:
    rows = [json.loads(line) for line in lines.splitlines()]
    return float(np.mean([Path(row["file"]).stem[-1] == row["label"] for row in rows]))


def test_classify_walks_folders_and_names_bad_files_at_the_end(
    artifact: Path, pictures: Path, gpu_learning: Command
) -> None:
    (pictures / "0500-bad.png").write_text("no image")
    code, out, err = gpu_learning("classify", artifact, pictures, "missing.png", "--json")
    assert code == 1
    assert len(out.splitlines()) == 1797
    # Trained on digits that fill a square; a file is framed as MNIST is, with its own proportions.
    assert share_right(out) > 0.75
    assert "0500-bad.png is not an image" in err
    assert "missing.png is not there" in err
    assert "2 of 1799 could not be classified" in err
    first = json.loads(out.splitlines()[0])
    assert first["label"] == "0"
    assert sum(first["all_probs"]) == pytest.approx(1, abs=1e-4)


def test_classify_says_what_is_wrong(
    artifact: Path, workplace: Path, gpu_learning: Command
) -> None:
    Image.fromarray(np.eye(28) * 255).convert("L").save("one.png")
    assert gpu_learning("classify", artifact, "one.png")[0] == 0
    (workplace / "empty").mkdir()
    assert "no image in empty" in gpu_learning("classify", artifact, "empty")[2]
    assert "does not exist" in gpu_learning("classify", "models/none", "one.png")[2]
    code, _, err = gpu_learning("generate", artifact, "the cat")
    assert code == 1
    used = f"a model for image-classification: gpu-learning classify {artifact} FILE"
    assert f"{artifact} is not a language model but {used}" in err
    code, _, err = gpu_learning("classify", artifact, "one.png", "--runtime", "pt2-fp16")
    assert code == 1
    assert "has no pt2-fp16" in err
    assert gpu_learning("classify", artifact)[0] == 2


@pytest.mark.slow
def test_an_mlp_is_exported_by_the_same_command(
    workplace: Path, gpu_learning: Command, small_mnist: Path, device: str
) -> None:
    pytest.importorskip("onnxscript", reason="the extra [export] is not installed")
    options = ["--trainer.max_epochs=1", "--data.val_size=100"]
    assert gpu_learning("fit", "-c", "configs/mnist_mlp.yaml", *options)[0] == 0
    code, out, err = gpu_learning(
        "export", "logs/mnist_mlp", "--format", "onnx,torchscript", "--device", "cpu", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["parameters"] == 109_386
    assert load("models/mnist_mlp").predict(np.eye(28)).digit in range(10)


@pytest.mark.slow
def test_a_classifier_of_points_is_exported_by_the_same_command(
    workplace: Path, gpu_learning: Command, device: str
) -> None:
    pytest.importorskip("onnxscript", reason="the extra [export] is not installed")
    options = ["--trainer.max_epochs=100"]
    assert gpu_learning("fit", "-c", "configs/binary_classifier.yaml", *options)[0] == 0
    code, out, err = gpu_learning(
        "export", "logs/binary_classifier", "--format", "onnx,onnx-int8", "--device", "cpu"
    )
    assert code == 0, err
    assert "65 parameters" in out
    model = load("models/binary_classifier")
    assert isinstance(model, Model)
    assert not isinstance(model, Classifier)
    assert model(np.zeros((3, 2))).shape == (3, 1)


def test_export_says_what_is_wrong(workplace: Path, gpu_learning: Command, artifact: Path) -> None:
    (workplace / "junk.ckpt").write_bytes(b"junk")
    best = artifact.parents[1] / "logs/digits_cnn/version_0/checkpoints/best.ckpt"
    moved = workplace / "moved.ckpt"
    moved.write_bytes(best.read_bytes())
    for arguments, message in (
        (["logs/none"], "not a checkpoint and has no best.ckpt"),
        (["junk.ckpt", "--name", "junk"], "cannot be read as a checkpoint of this project: it is"),
        (["moved.ckpt"], "name the model with --name"),
        ([best, "--format", "onx"], "there is no format 'onx'; did you mean onnx? There are "),
        ([best, "--name", "a/../.."], "cannot name a model"),
    ):
        code, out, err = gpu_learning("export", *arguments, "--device", "cpu")
        assert (code, out) == (1, "")
        assert message in err
        assert "weights_only" not in err  # torch's own advice
        assert "exporting to" not in err  # nothing is begun
    assert not list((workplace / "models").glob("*")) if (workplace / "models").exists() else True


@pytest.mark.slow
def test_bench_infer_compares_all_files(
    artifact: Path, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    checkpoint = artifact.parents[1] / "logs/digits_cnn/version_0/checkpoints/best.ckpt"
    arguments = ["infer", artifact, "--checkpoint", checkpoint, "--batches", "1,16", "--rounds=3"]
    assert bench_infer.main([*map(str, arguments), "--json", "--plot", "plot.png"]) == 0
    report = json.loads(capfd.readouterr().out)["arms"]
    assert set(report) == {
        "eager",
        "eager, channels last",
        "torchscript",
        "int8",
        "onnx",
        "onnx-int8",
        "pt2",
    }
    accuracy = read_manifest(artifact).document["eager"]["accuracy"]
    for name, row in report.items():
        assert row["accuracy"] == pytest.approx(accuracy, abs=0.01)
        assert row["batches"]["16"]["microseconds"] > 0
        assert (row["batches"]["1"]["ratio"] == 1) == (name == "eager")
    with Image.open(workplace / "plot.png") as plot:
        assert plot.size == (800, 500)
    if before is not None:
        assert os.sched_getaffinity(0) == before
    (workplace / "other.ckpt").write_bytes(b"other")
    with pytest.raises(ValueError, match="is not the checkpoint"):
        bench_infer.main(["infer", str(artifact), "--checkpoint", "other.ckpt"])


@pytest.mark.slow
@torch._dynamo.config.patch(recompile_limit=1, fail_on_recompile_limit_hit=False)
def test_bench_infer_does_not_measure_a_fallback() -> None:
    """Past its limit torch.compile runs eager without a word."""
    torch.compiler.reset()
    arms = infer_arms.eager_arms(torch.nn.Linear(4, 2).requires_grad_(False), "cpu", compiled=True)
    inputs = np.ones((8, 4), np.float32)
    with pytest.raises(ValueError, match="1 programs of one net at most"):
        infer_arms.measure(arms, inputs, [1, 2, 3], rounds=2, device="cpu")
