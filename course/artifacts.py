"""Steps 16 and 17: files that run faster or are smaller, and pipelines around them."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from callbacks.predictions import prediction_figure
from course.catalogue import show
from course.classification import need_mnist
from course.inference_pipeline import MNISTInferencePipeline
from course.pictures import bars
from course.runner import Run, Skipped
from course.training_pipeline import MNISTTrainingPipeline
from exporting.images import export, read_source

FORMATS = ("torchscript", "int8", "onnx", "onnx-int8", "safetensors")


def told(name: str, entry: dict[str, Any]) -> str:
    """A file of an artifact: its size, and what its check found."""
    found = [f"{key.replace('_', ' ')} {show(value)}" for key, value in entry["checked"].items()]
    return ", ".join([f"{name}: {entry['bytes']:,} bytes", *found])


def files(run: Run) -> dict[str, Any]:
    """The CNN in five formats, each read back by a fresh process and compared with eager."""
    _need_export()
    need_mnist()
    cli = run.fit("mnist_cnn", *_epochs(run))
    source = read_source(_best(cli.trainer))
    manifest = export(source, run.folder / "mnist_cnn", FORMATS, "cpu")
    made = manifest["files"]
    for name, entry in made.items():
        print(told(name, entry))
    int8 = [made[name] for name in ("int8", "onnx-int8")]
    lost = [manifest["eager"]["accuracy"] - entry["checked"]["accuracy"] for entry in int8]
    smallest = min(entry["bytes"] for entry in int8)
    # The course compares with float32 weights as torch.save writes them.
    weights = run.folder / "float32.pth"
    torch.save({name: w.cpu() for name, w in cli.model.net.state_dict().items()}, weights)
    print(f"float32.pth: {weights.stat().st_size:,} bytes")
    sizes = {"float32.pth": weights.stat().st_size} | {n: e["bytes"] for n, e in made.items()}
    kilobytes = [size / 1024 for size in sizes.values()]
    run.keep(bars(list(sizes), {"": kilobytes}, ("KB on the disk", "")), "sizes")
    return {
        "TorchScript, times eager": _speed(made["torchscript"]),
        "ONNX, times eager": _speed(made["onnx"]),
        "int8, smaller by": 1 - smallest / weights.stat().st_size,
        "int8, accuracy lost": max(lost),
    }


def pipelines(run: Run) -> dict[str, Any]:
    """Training to saved files in one object, images to digits in another."""
    _need_export()
    need_mnist()
    epochs = 1 if run.reduced else 3
    log = {"save_dir": run.folder.parent, "name": run.folder.name, "version": "run"}
    options = [f"--trainer.logger.init_args.{key}={value}" for key, value in log.items()]
    training = MNISTTrainingPipeline(options=options).train(epochs)
    saved = training.save(run.folder / "model", ["onnx"])
    pipeline = MNISTInferencePipeline(saved)
    images, labels = _test_images()
    milliseconds = []
    for _ in range(20):
        began = time.perf_counter()
        ten = pipeline.predict_batch(images[:10])
        milliseconds.append((time.perf_counter() - began) * 1e3)
    for prediction, label in zip(ten, labels, strict=False):
        print(f"{label}: {prediction.digit} with {prediction.confidence:.1%}")
    ten_images = torch.from_numpy(images[:10])[:, None]
    shares = torch.tensor([prediction.all_probs for prediction in ten])
    truth = torch.from_numpy(labels[:10])
    run.keep(prediction_figure(ten_images, shares, truth, "One batch of ten", 5), "batch")
    answers = [prediction.digit for prediction in pipeline.predict_batch(images)]
    return {
        "right on 1,000 test images": float(np.mean(np.array(answers) == labels)),
        # The best of 20: what is above it is other programs' time.
        "ten images as a batch, ms": min(milliseconds),
        "the same one by one": [pipeline.predict(image).digit for image in images[:10]]
        == answers[:10],
        "training packages imported": _imported_by_inference(saved),
    }


# In a process of its own, as another program would use the pipeline.
_INFERENCE = """
import json, sys
import numpy as np
from course.inference_pipeline import MNISTInferencePipeline
MNISTInferencePipeline(sys.argv[1]).predict(255 * np.eye(28, dtype=np.uint8))
training = ("torch", "lightning", "lightning_modules", "datamodules", "callbacks", "training")
print(json.dumps([name for name in training if name in sys.modules]))
"""


def _imported_by_inference(saved: Path) -> list[str]:
    """Packages of training that a process has imported after it has predicted."""
    ended = subprocess.run(
        [sys.executable, "-c", _INFERENCE, str(saved)], stdout=subprocess.PIPE, check=True
    )
    return json.loads(ended.stdout)


def _need_export() -> None:
    missing = [p for p in ("onnx", "onnxruntime", "onnxscript", "safetensors") if not _there(p)]
    if missing:
        raise Skipped(f"needs {', '.join(missing)}: make setup EXTRAS=dev,export")


def _there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _epochs(run: Run) -> list[str]:
    return ["--trainer.max_epochs=1"] if run.reduced else []


def _best(trainer: pl.Trainer) -> Path:
    assert trainer.checkpoint_callback is not None
    return Path(trainer.checkpoint_callback.best_model_path)


def _speed(entry: dict[str, Any]) -> float:
    return entry["latency"]["1"]["ratio_to_eager"]["median"]


def _test_images() -> tuple[np.ndarray, np.ndarray]:
    """The first 1,000 images of MNIST's test split (N, 28, 28), as they come in files."""
    from torchvision.datasets import MNIST

    data = MNIST("data", train=False)
    return data.data[:1000].numpy(), data.targets[:1000].numpy()
