"""Artifacts: what load takes, what it refuses, what it never imports."""

import json
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from course.inference_pipeline import MNISTInferencePipeline
from datamodules import DigitsDataModule
from exporting.commit import seal
from inference import Classifier, load
from inference.manifest import read_manifest
from inference.text.generate import TextGenerator
from tests.conftest import ROOT

RUNNABLE = ["torchscript", "int8", "onnx", "onnx-int8", "pt2"]


@pytest.fixture
def copied(artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact, tmp_path / "copied"))


def test_split() -> tuple[np.ndarray, np.ndarray]:
    data = DigitsDataModule()
    data.setup("test")
    inputs, labels = zip(*data.test_dataloader(), strict=True)
    return np.concatenate(inputs), np.concatenate(labels)


test_split.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("runtime", RUNNABLE)
def test_every_format_gives_the_same_answers(artifact: Path, runtime: str) -> None:
    inputs, labels = test_split()
    reference = load(artifact, "torchscript")(inputs)
    outputs = load(artifact, runtime, threads=1)(inputs)
    drift = np.abs(outputs - reference).max() / np.abs(reference).max()
    assert drift < (0.1 if "int8" in runtime else 1e-5)
    right = (outputs.argmax(1) == labels).mean()
    assert right == pytest.approx(read_manifest(artifact).document["eager"]["accuracy"], abs=0.01)
    assert right > 0.9


def test_the_best_runtime_is_taken_and_torch_is_not_needed(artifact: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from inference import load; "
        "import numpy as np; model = load(sys.argv[1]); "
        "print(model.runtime.format, model.predict(np.eye(28)).label); "
        "loaded = {'lightning', 'datamodules', 'lightning_modules', 'callbacks', 'sklearn'}; "
        "sys.exit(str(loaded & set(sys.modules)) if loaded & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, artifact], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("onnx ")


def test_rows_one_at_a_time_through_threads(artifact: Path) -> None:
    """Single rows have buffers of their own in each thread, and answers that last."""
    inputs, _ = test_split()
    model = load(artifact, "onnx", threads=1)
    assert isinstance(model, Classifier)
    together = model(inputs[:64])
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(model, [inputs[row : row + 1] for row in range(64)]))
    np.testing.assert_allclose(np.concatenate(alone), together, atol=1e-5)
    first = model(inputs[:1])
    kept = first.copy()
    model(inputs[1:2])
    np.testing.assert_array_equal(first, kept)


def test_a_classifier_and_the_pipeline_agree(artifact: Path) -> None:
    images = load_digits().images[:20] / 16
    batch = MNISTInferencePipeline(artifact).predict_batch(images)
    assert [load(artifact).predict(image).digit for image in images] == [p.digit for p in batch]
    first = batch[0]
    assert sum(first.all_probs) == pytest.approx(1, abs=1e-5)
    assert first.confidence == max(first.all_probs)
    assert first.all_probs.index(first.confidence) == first.digit


def test_probabilities_are_those_of_the_normalized_image(artifact: Path) -> None:
    """Pixels are normalized as the training's were; images of the test split are recognized."""
    model = load(artifact)
    assert isinstance(model, Classifier)
    images, labels = DigitsDataModule()._read(train=False)
    found = model.predict_batch(images.numpy())
    assert np.mean([one.digit for one in found] == labels.numpy()) > 0.9
    pixels = images[:20, None].numpy() / 255  # framed as the training's already, and left so
    normalized = (pixels - DigitsDataModule.mean) / DigitsDataModule.std
    logits = torch.from_numpy(model(normalized.astype(np.float32)))
    expected = logits.softmax(dim=1).numpy()
    np.testing.assert_allclose([one.all_probs for one in found[:20]], expected, atol=1e-5)


def test_200_damaged_files_are_refused(artifact: Path, copied: Path) -> None:
    """Bit flips and truncations of every file, the manifest among them."""
    rng = random.Random(0)
    names = sorted(path.name for path in copied.iterdir())
    formats = {file.path.name: name for name, file in read_manifest(copied).files.items()}
    refused = 0
    for _ in range(200):
        path = copied / rng.choice(names)
        content = bytearray(path.read_bytes())
        if rng.random() < 0.3:
            del content[rng.randrange(len(content)) :]
        else:
            for _ in range(rng.choice([1, 1, 8])):
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        whitespace_only = path.suffix == ".json" and same_document(path, artifact / path.name)
        try:
            with pytest.raises(ValueError, match=r"damaged|not JSON|manifest|schema"):
                read_manifest(copied).files[formats.get(path.name, "onnx")].read()
            refused += 1
        except pytest.fail.Exception:
            assert whitespace_only, f"{path.name} was damaged and read"
        shutil.copy(artifact / path.name, path)
    assert refused > 190


def same_document(first: Path, second: Path) -> bool:
    """Whether a flip hit nothing but the white space of a JSON file."""
    try:
        return json.loads(first.read_bytes()) == json.loads(second.read_bytes())
    except ValueError:
        return False


def test_a_damaged_file_is_not_parsed(copied: Path) -> None:
    for name, file in read_manifest(copied).files.items():
        content = bytearray(file.path.read_bytes())
        content[len(content) // 2] ^= 1
        file.path.write_bytes(content)
        if name in RUNNABLE:
            with pytest.raises(ValueError, match="checksum"):
                load(copied, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["files"]["onnx"].update(file="../../etc/passwd"), "plain file name"),
        (lambda d: d["files"]["onnx"].update(file="/etc/passwd"), "plain file name"),
        (lambda d: d["files"]["onnx"].update(bytes=-1), "whole number"),
        (lambda d: d["files"]["onnx"].update(bytes="1"), "whole number"),
        (lambda d: d["files"]["onnx"].update(sha256="0"), "sha256"),
        (lambda d: d["files"]["onnx"].update(device="tpu"), "device"),
        (lambda d: d.update(files=[]), "not a valid manifest"),
        (lambda d: d.update(schema=4), "schema 4"),
        (lambda d: d.pop("preprocessing"), "has no 'preprocessing'; export the model again"),
        (lambda d: d.update(preprocessing="rotate"), "'rotate' is unknown here"),
        (lambda d: d["input"].update(mean=[0.1, 0.2]), "must be one number or 1, not"),
        (lambda d: d["input"].update(std=["x"]), "could not convert"),
        (lambda d: d.update(task="telepathy"), "telepathy"),
        (lambda d: d.pop("input"), "input"),
        (lambda d: d["input"].pop("mean"), "mean"),
        (lambda d: d["input"].update(dtype="float64"), "float64"),
        (lambda d: d["input"].update(shape=[1, 28, 1e9]), "whole number"),
        (lambda d: d.update(labels=None), "needs labels, one name per output"),
        (lambda d: d.pop("labels"), "needs labels, .* export the model again"),
        (lambda d: d["input"].update(shape=[3, 28, 28]), "centered-digit is for 1 x side x side"),
        (lambda d: d.update(name="another"), "edited"),
    ],
)
def test_a_manifest_that_says_something_impossible(copied: Path, change, message: str) -> None:
    document = json.loads((copied / "manifest.json").read_text())
    checksum = document.pop("checksum")
    change(document)
    sealed = seal(document)
    if message == "edited":
        sealed["checksum"] = checksum
    (copied / "manifest.json").write_text(json.dumps(sealed))
    with pytest.raises(ValueError, match=message):
        load(copied)


@pytest.mark.parametrize("content", [b"", b"[" * 900_000, b"null", b"\xff\xfe", b" " * 2_000_000])
def test_a_manifest_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"manifest\.json"):
        load(tmp_path)


def test_a_link_out_of_the_folder_is_not_followed(copied: Path, tmp_path: Path) -> None:
    path = read_manifest(copied).files["onnx"].path
    path.rename(tmp_path / "elsewhere.onnx")
    path.symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(ValueError, match="missing"):
        load(copied, "onnx")


def test_what_load_cannot_do_is_said(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist; it must be a folder that was made by"):
        load(tmp_path / "nothing")
    with pytest.raises(ValueError, match=f"digit does not exist; did you mean {artifact}\\?"):
        load(artifact.with_name("digit"))
    with pytest.raises(ValueError, match=f"image-classification: gpu-learning classify {artifact}"):
        TextGenerator.load(artifact)
    with pytest.raises(ValueError, match="no pt2-fp16 to run; it has"):
        load(artifact, "pt2-fp16")
    with pytest.raises(ValueError, match="no safetensors to run"):
        load(artifact, "safetensors")
    with pytest.raises(ValueError, match="not cpu or cuda"):
        load(artifact, device="tpu")
    model = load(artifact)
    assert isinstance(model, Classifier)
    for shape in ((1, 28, 28), (0, 1, 28, 28), (2, 3, 28, 28)):
        with pytest.raises(ValueError, match="expected"):
            model(np.zeros(shape))
    with pytest.raises(ValueError, match="no pictures"):
        model.predict_batch([])
    with pytest.raises(ValueError, match="picture 1"):
        model.predict_batch([np.eye(28), np.zeros((28, 28))])


def test_a_name_alone_is_answered_by_the_model_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "models" / "digits"
    folder.mkdir(parents=True)
    (folder / "manifest.json").touch()
    with pytest.raises(ValueError, match=r"^digit does not exist; did you mean models/digits\?$"):
        load("digit")
