"""``load``: a folder of ``models/`` behind one callable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from inference.manifest import ArtifactFile, Manifest, read_manifest
from inference.model import Model
from inference.runtimes.runtime import OnnxRuntime, Runtime

if TYPE_CHECKING:
    from inference.text.generate import TextGenerator

# Best first, by measurement.
BEST = {
    # ExecuTorch is as fast as ONNX Runtime, but takes seconds to import and runs row by row.
    "cpu": (
        *("onnx", "onnx-int8", "torchscript", "pt2", "executorch", "executorch-int8", "int8"),
        "pth",
    ),
    "cuda": ("pt2", "pt2-fp16", "torchscript", "pth"),
}
COMPILED = ("pt2", "pt2-fp16")
# The package that runs each format; a new format is entered here and in BEST, a package in _open.
PACKAGES = {
    **dict.fromkeys(("onnx", "onnx-int8"), "onnxruntime"),
    **dict.fromkeys(("executorch", "executorch-int8"), "executorch"),
    **dict.fromkeys(("torchscript", "int8", "pt2", "pt2-fp16", "pth"), "torch"),
}


def load(
    folder: str | Path,
    runtime: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    compile: bool = False,
) -> Model | TextGenerator:
    """A model of ``models/``: a :class:`~inference.Classifier` where it was exported as one.

    A language model becomes a :class:`~inference.text.generate.TextGenerator`, whose own ``load``
    has more to choose.

    Args:
        folder: ``models/<name>``, made by ``gpu-learning export``.
        runtime: format to run; None takes the best that is there and installed.
        device: ``cpu`` or ``cuda``. On ``cuda`` batches of one are replayed as a CUDA graph.
        threads: threads inside an operation; None for the library's default.
        compile: put a ``pt2`` or ``pt2-fp16`` file through torch.compile: seconds at the first
            call of a batch size, for a faster net on a GPU.

    Raises:
        ValueError: no such model, a damaged file, nothing installed that can run it, or a file
            that cannot be compiled.
    """
    manifest = read_manifest(folder)
    if device not in BEST:
        raise ValueError(f"device {device!r} is not cpu or cuda")
    if manifest.task == "text-generation":
        from inference.text.generate import TextGenerator

        return TextGenerator.load(folder, runtime, device=device, compile=compile, threads=threads)
    if manifest.task == "image-classification":
        from inference.images.classifier import Classifier as kind
    elif manifest.task == "tensor":
        kind = Model
    else:
        raise ValueError(f"{folder} is a {manifest.task} model; load cannot run it")
    if runtime is not None:
        if runtime not in manifest.files or runtime not in PACKAGES:
            there = ", ".join(name for name in manifest.files if name in PACKAGES)
            raise ValueError(f"{folder} has no {runtime} to run; it has {there or 'none'}")
        if compile and runtime not in COMPILED:
            raise ValueError(
                f"torch.compile takes {' and '.join(COMPILED)} files, not {runtime}; export the "
                "model with --format pt2, or leave compile out"
            )
        return kind(manifest, _open(manifest, manifest.files[runtime], device, threads, compile))
    reasons = []
    candidates = COMPILED if compile else BEST[device]
    for name in candidates:
        file = manifest.files.get(name)
        if file is None:
            continue
        if reason := _missing(name):
            reasons.append(reason)
            continue
        return kind(manifest, _open(manifest, file, device, threads, compile))
    if compile and not reasons:
        raise ValueError(
            f"{folder} has no {' or '.join(COMPILED)} file, which torch.compile takes; export the "
            "model with --format pt2, or leave compile out"
        )
    raise ValueError(
        f"nothing in {folder} can run on {device} here: "
        + ("; ".join(reasons) or f"none of {', '.join(BEST[device])} was exported")
    )


def _missing(name: str) -> str | None:
    from importlib.util import find_spec

    package = PACKAGES[name]
    return None if find_spec(package) else f"{name} needs {package}, which is not installed"


def _open(
    manifest: Manifest, file: ArtifactFile, device: str, threads: int | None, compile: bool
) -> Runtime:
    package = PACKAGES[file.format]
    if package == "onnxruntime":
        return OnnxRuntime(file, device, threads)
    if package == "executorch":
        from inference.runtimes.executorch_runtime import ExecutorchRuntime

        return ExecutorchRuntime(file, device, threads)
    assert package == "torch", f"nothing here opens the files of {package}"
    from inference.runtimes.torch_runtime import TorchRuntime

    # Files that take pixels themselves are of nets for gray images.
    moments = [None if values is None else values[0] for values in (manifest.mean, manifest.std)]
    opened = TorchRuntime(file, device, threads, compile, (moments[0], moments[1]))
    if device == "cpu":
        return opened
    from inference.runtimes.cuda_graphs import CudaGraphs

    return CudaGraphs(opened, manifest.input_shape)
