"""Steps 16 and 17: files that run faster or are smaller, and pipelines around them."""

import importlib.util
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from exporting import export, read_source
from inference import MNISTInferencePipeline
from scripts.course.classification import need_mnist
from scripts.course.runner import Run, Skipped
from scripts.pipelines import MNISTTrainingPipeline

FORMATS = ("torchscript", "int8", "onnx", "onnx-int8", "safetensors")


def files(run: Run) -> dict[str, Any]:
    """The CNN in five formats, each read back by a fresh process and compared with eager."""
    _need_export()
    need_mnist()
    cli = run.fit("mnist_cnn", *_epochs(run))
    source = read_source(_best(cli.trainer))
    manifest = export(source, run.folder / "mnist_cnn", FORMATS, "cpu")
    made = manifest["files"]
    for name, entry in made.items():
        print(f"{name}: {entry['bytes']:,} bytes", entry["checked"])
    int8 = [made[name] for name in ("int8", "onnx-int8")]
    lost = [manifest["eager"]["accuracy"] - entry["checked"]["accuracy"] for entry in int8]
    smallest = min(entry["bytes"] for entry in int8)
    return {
        "TorchScript, times eager": _speed(made["torchscript"]),
        "ONNX, times eager": _speed(made["onnx"]),
        "int8, smaller by": 1 - smallest / made["safetensors"]["bytes"],
        "int8, accuracy lost": max(lost),
    }


def pipelines(run: Run) -> dict[str, Any]:
    """Training to saved files in one object, pictures to digits in another."""
    _need_export()
    need_mnist()
    epochs = 1 if run.reduced else 3
    log = {"save_dir": run.folder.parent, "name": run.folder.name, "version": "run"}
    options = [f"--trainer.logger.init_args.{key}={value}" for key, value in log.items()]
    training = MNISTTrainingPipeline("mnist_cnn", epochs, options).train()
    pipeline = MNISTInferencePipeline(training.save(run.folder / "model", ["onnx"]))
    images, labels = _test_pictures()
    milliseconds = []
    for _ in range(20):
        began = time.perf_counter()
        ten = pipeline.predict_batch(images[:10])
        milliseconds.append((time.perf_counter() - began) * 1e3)
    for prediction, label in zip(ten, labels, strict=False):
        print(f"{label}: {prediction.digit} with {prediction.confidence:.1%}")
    answers = [prediction.digit for prediction in pipeline.predict_batch(images)]
    return {
        "right on 1,000 test pictures": float(np.mean(np.array(answers) == labels)),
        # The best of 20: what is above it is other programs' time.
        "ten pictures as a batch, ms": min(milliseconds),
        "the same one by one": [pipeline.predict(image).digit for image in images[:10]]
        == answers[:10],
    }


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


def _test_pictures() -> tuple[np.ndarray, np.ndarray]:
    """The first 1,000 pictures of MNIST's test split (N, 28, 28), as they come in files."""
    from torchvision.datasets import MNIST

    data = MNIST("data", train=False)
    return data.data[:1000].numpy(), data.targets[:1000].numpy()
