"""The course's own scripts and classes against this project's commands.

``GPU_LEARNING_COURSE_TEXT`` names a file with the course's text, which is no part of this project.
"""

import ast
import base64
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from datamodules import MNISTDataModule
from inference import Classifier, load
from inference.runtimes.state_dict import read_state_dict

pytestmark = pytest.mark.slow

Command = Callable[..., tuple[int, str, str]]
VARIABLE = "GPU_LEARNING_COURSE_TEXT"
TEXT = os.environ.get(VARIABLE)
MLP, CNN, PIPELINE = "mnist.py", "02_cnn.py", "03_inference_pipeline.py"


@pytest.fixture(scope="module")
def script() -> Callable[[str], str]:
    """The course's script of a name, for one epoch on a CPU."""
    if TEXT is None:
        pytest.skip(f"{VARIABLE} names no file with the course's text")
    text = Path(TEXT).read_text()

    def cut(name: str) -> str:
        found = re.search(rf"^###? \S*{re.escape(name)}\n+```python\n(.*?)^```", text, re.M | re.S)
        assert found is not None, f"{TEXT} has no {name}"
        code = found[1].replace('"cuda"', '"cpu"').replace("range(5)", "range(1)")
        return code.replace("epochs=3", "epochs=1")

    return cut


def run(code: str, save: str = "") -> None:
    """Runs a script in the current folder; one that saves nothing saves its model."""
    Path("models").mkdir(exist_ok=True)
    end = f"\ntorch.save(model.state_dict(), {save!r})\n" if save else ""
    Path("script.py").write_text(code + end)
    done = subprocess.run([sys.executable, "-W", "ignore", "script.py"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def own_class(code: str, name: str) -> type[nn.Module]:
    """A class of a script, without what the script does."""
    tree = ast.parse(code)
    tree.body = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom | ast.ClassDef)]
    names = {"device": torch.device("cpu")}
    exec(compile(tree, name, "exec"), names)
    return names[name]  # type: ignore[return-value]


def pixels() -> tuple[torch.Tensor, torch.Tensor]:
    """The test split as ``ToTensor`` yields it, with labels."""
    data = MNISTDataModule(mean=0.0, std=1.0)
    data.setup("test")
    return data._splits["test"]


def accuracy(net: nn.Module) -> float:
    images, labels = pixels()
    with torch.no_grad():
        return (net.eval()(images).argmax(1) == labels).float().mean().item()


def printed_accuracy(out: str) -> float:
    found = re.search(r"test/acc +([0-9.]+)\n", out)
    assert found is not None, out
    return float(found[1])


@pytest.mark.parametrize(
    ("name", "kind", "model"),
    [(MLP, "MNISTNet", "MNISTMLP"), (CNN, "CNN", "MNISTCNN"), (PIPELINE, "CNN", "MNISTCNN")],
)
def test_a_pth_of_the_course_moves_in(
    script, gpu_learning: Command, small_mnist: Path, name: str, kind: str, model: str
) -> None:
    code, file = script(name), "models/mnist_cnn.pth"
    run(code, "" if name == PIPELINE else file)
    net = own_class(code, kind)()
    net.load_state_dict(torch.load(file))
    right = accuracy(net)

    given = ["import", file, "--model", model, "--name=mine", "--normalization=course"]
    assert gpu_learning(*given)[0] == 0
    checkpoint = "logs/mine/version_0/checkpoints/best.ckpt"
    test = ["test", "-c", "logs/mine/version_0/config.yaml", "--ckpt_path", checkpoint]
    exit_code, out, err = gpu_learning(*test)
    assert exit_code == 0, err
    assert printed_accuracy(out) == round(right, 4)

    formats = "--format=pth,torchscript"
    exit_code, _, err = gpu_learning("export", "logs/mine", formats, "--device=cpu")
    assert exit_code == 0, err
    artifact = load("models/mine", "pth")
    assert isinstance(artifact, Classifier)
    assert artifact.manifest.document["eager"]["accuracy"] == pytest.approx(right, abs=1e-6)
    for key, tensor in read_state_dict(artifact.manifest.files["pth"].path).items():
        torch.testing.assert_close(tensor, net.state_dict()[key], rtol=0, atol=0)

    image = (pixels()[0][0, 0] * 255).byte().numpy()
    Image.fromarray(image).save("digit.png")
    exit_code, out, err = gpu_learning("classify", "models/mine", "digit.png", "--json")
    assert exit_code == 0, err
    classified = json.loads(out)["label"]
    assert served("mine", Path("digit.png")) == classified
    if model == "MNISTCNN":
        backbone = f"--model.init_args.backbone={checkpoint}"
        fit = ["fit", "-c", "configs/transfer.yaml", backbone, "--data.init_args.val_size=50"]
        normalized = ["--data.init_args.mean=0", "--data.init_args.std=1"]
        exit_code, _, err = gpu_learning(*fit, *normalized, "--trainer.max_epochs=1")
        assert exit_code == 0, err


def served(name: str, image: Path) -> str:
    """What ``gpu-learning serve`` says an image shows."""
    for package in ("fastapi", "uvicorn"):
        pytest.importorskip(package, reason="the extra [serve] is not installed")
    command = [sys.executable, "-m", "scripts.cli", "serve", "models", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split(" on ")[1].split()[0]
            body = {"model": name, "images": [base64.b64encode(image.read_bytes()).decode()]}
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(
                f"{url}/api/classify", json.dumps(body).encode(), headers
            )
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["results"][0]["label"]
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("config", "name", "kind", "mean"),
    [
        ("mnist_mlp", MLP, "MNISTNet", None),
        ("mnist_mlp", MLP, "MNISTNet", 0),
        ("mnist_cnn", CNN, "CNN", None),
        ("mnist_cnn", CNN, "CNN", 0.1307),
    ],
)
def test_a_pth_of_ours_loads_into_the_courses_class(
    script,
    gpu_learning: Command,
    small_mnist: Path,
    config: str,
    name: str,
    kind: str,
    mean: float | None,
) -> None:
    options = ["--trainer.max_epochs=5", "--data.init_args.val_size=100"]
    if mean is not None:
        options += [f"--data.init_args.mean={mean}", "--data.init_args.std=0.3081"]
    assert gpu_learning("fit", "-c", f"configs/{config}.yaml", *options)[0] == 0
    code, _, err = gpu_learning("export", f"logs/{config}", "--format=pth", "--device=cpu")
    assert code == 0, err
    artifact = load(f"models/{config}")
    assert isinstance(artifact, Classifier)
    net = own_class(script(name), kind)()
    net.load_state_dict(torch.load(artifact.manifest.files["pth"].path))
    # One of the 200 images for a CNN behind a mean, see exporting/images/state_dict.py.
    spare = 1 / 200 if config == "mnist_cnn" and mean else 0.0
    eager = artifact.manifest.document["eager"]["accuracy"]
    assert accuracy(net) == pytest.approx(eager, abs=spare + 1e-6)


def test_the_courses_pipeline_reads_what_ours_saves(script, small_mnist: Path) -> None:
    from course.inference_pipeline import MNISTInferencePipeline
    from course.training_pipeline import MNISTTrainingPipeline

    training = MNISTTrainingPipeline(lr=0.001, options=["--data.init_args.val_size=100"])
    training.train(epochs=1)
    training.save("models/mnist_cnn.pth")
    ours = MNISTInferencePipeline("models/mnist_cnn.pth")
    theirs = own_class(script(PIPELINE), "MNISTInferencePipeline")("models/mnist_cnn.pth")
    images = pixels()[0][:10]
    torch.testing.assert_close(ours.model(images), theirs.model(images))
