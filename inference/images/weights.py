"""A classifier from a ``.pth`` alone, which says nothing about itself."""

import hashlib
from pathlib import Path

import torch
from torch import nn

from inference.images.classifier import Classifier
from inference.manifest import ArtifactFile, Manifest
from inference.runtimes.state_dict import plain_net, read_state_dict
from inference.runtimes.torch_runtime import TorchRuntime


def load_weights(path: Path, device: str = "cpu") -> tuple[Classifier, nn.Module]:
    """A classifier of digits 0, 1, ... and its net, which takes pixels in [0, 1] (B, 1, 28, 28).

    Raises:
        ValueError: the file holds no state dict of a net for 28 x 28 images, or there is no GPU.
    """
    net = plain_net(read_state_dict(path))
    try:
        outputs = net(torch.zeros(1, 1, 28, 28)).shape[1]
    except RuntimeError as error:
        raise ValueError(f"{path} is a net, but none for 28 x 28 images: {error}") from error
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    file = ArtifactFile("pth", path, len(content), digest, "any")
    labels = tuple(map(str, range(outputs)))
    files = {"pth": file}
    manifest = Manifest(
        *(path.parent, "image-classification", (1, 28, 28), (0.0,), (1.0,), labels, files, {}, {}),
        preprocessing="mnist-digit",
    )
    runtime = TorchRuntime(file, device, threads=None)
    return Classifier(manifest, runtime), runtime.module
