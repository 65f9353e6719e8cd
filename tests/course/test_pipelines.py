"""The pipelines of step 17, called as the course calls its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from course.inference_pipeline import MNISTInferencePipeline
from course.training_pipeline import MNISTTrainingPipeline
from inference.runtimes.state_dict import plain_net, read_state_dict
from tests.conftest import ROOT


@pytest.mark.slow
def test_a_pth_is_trained_saved_and_used(small_mnist: Path, device: str) -> None:
    training = MNISTTrainingPipeline(
        num_classes=10, lr=0.003, options=["--data.val_size=100", "--trainer.logger=false"]
    )
    with pytest.raises(ValueError, match=r"call train\(\) first"):
        training.save("models/mnist_cnn.pth")
    training.train(epochs=5)
    assert training.save("models/mnist_cnn.pth") == Path("models/mnist_cnn.pth")
    assert [path.name for path in Path("models").iterdir()] == ["mnist_cnn.pth"]
    assert training.checkpoint is not None
    trained = torch.load(training.checkpoint, weights_only=True, map_location="cpu")["state_dict"]
    saved = read_state_dict(Path("models/mnist_cnn.pth"))
    assert saved.keys() == {
        f"{n}.{p}" for n in ("conv1", "conv2", "fc1", "fc2") for p in ("weight", "bias")
    }
    for name, tensor in saved.items():  # no normalization, so nothing to fold
        torch.testing.assert_close(tensor, trained[f"net.{name}"].contiguous(), rtol=0, atol=0)

    pipeline = MNISTInferencePipeline("models/mnist_cnn.pth")
    digits = load_digits()
    images = [Image.fromarray((image * 15.9).astype(np.uint8)) for image in digits.images[:100]]
    results = pipeline.predict_batch(images)
    right = np.mean([r["digit"] == d for r, d in zip(results, digits.target, strict=False)])
    # Trained on digits that fill a square; an image is framed with its own proportions.
    assert right > 0.5
    result = pipeline.predict(images[0])
    assert dict(result) == {
        "digit": result.digit,
        "label": result.label,
        "confidence": result.confidence,
        "all_probs": result.all_probs,
        "inverted": False,
    }
    assert result["confidence"] == max(result["all_probs"])
    with pytest.raises(KeyError):
        result["place"]
    logits = pipeline.model(pipeline.transform(images[0]).unsqueeze(0))
    assert torch.softmax(logits, dim=1).max().item() == pytest.approx(result.confidence, abs=1e-5)
    assert isinstance(pipeline.model, torch.nn.Module)


def test_a_folder_is_saved_and_used(workplace: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra [export] is not installed")
    training = MNISTTrainingPipeline(
        lr=0.005, config="digits_cnn", options=["--trainer.logger=false"]
    )
    folder = training.train(epochs=2).save("models/pipeline", ["onnx"])
    pipeline = MNISTInferencePipeline(folder)
    image = load_digits().images[0] / 16
    logits = pipeline.model(pipeline.transform(image)[None])
    assert logits.argmax() == pipeline.predict(image).digit
    with pytest.raises(ValueError, match="no experiment 'mnist_cn'"):
        MNISTTrainingPipeline(config="mnist_cn")


def test_files_that_are_no_classifier_are_refused(workplace: Path) -> None:
    torch.save(torch.nn.Linear(2, 3).state_dict(), "other.pth")
    with pytest.raises(ValueError, match=r"layers conv1, conv2, fc1 and fc2.*gpu-learning import"):
        MNISTInferencePipeline("other.pth")
    net = plain_net({"layer1.weight": torch.ones(2, 3), "layer1.bias": torch.ones(2)})
    torch.save(net.state_dict(), "points.pth")
    with pytest.raises(ValueError, match="none for 28 x 28 images"):
        MNISTInferencePipeline("points.pth")
    with pytest.raises(ValueError, match="does not exist"):
        MNISTInferencePipeline("none.pth")
    torch.save(net, "whole.pth")
    with pytest.raises(ValueError, match="objects whose code would run"):
        MNISTInferencePipeline("whole.pth")


def test_inference_imports_no_training() -> None:
    code = (
        "import sys; import course.inference_pipeline; "
        "heavy = {'torch', 'lightning', 'training', 'exporting', 'callbacks', 'datamodules', "
        "'lightning_modules'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
