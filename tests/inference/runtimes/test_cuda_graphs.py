"""Artifacts on a GPU: what is built there, and batches of one as a CUDA graph."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from exporting.images import Source, export
from inference import load
from inference.runtimes.cuda_graphs import CudaGraphs
from lightning_modules.nets import CNN

pytestmark = pytest.mark.gpu


def _exported(path: Path, formats: list[str]) -> Path:
    torch.manual_seed(0)
    templates = torch.randn(10, 1, 28, 28)
    labels = torch.arange(600) % 10
    images = templates[labels] + 0.3 * torch.randn(600, 1, 28, 28)
    net = CNN()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(30):  # trained, so that no two answers are nearly equal
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    net = net.eval().requires_grad_(False)
    inputs, targets = images.numpy(), labels.numpy()
    description = {
        "task": "tensor",
        "input": {"shape": [1, 28, 28], "dtype": "float32"},
        "labels": None,
    }
    export(Source(net, inputs, targets, description), path, formats, "cuda")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _exported(tmp_path_factory.mktemp("gpu") / "cnn", ["torchscript", "pt2", "pt2-fp16"])


@pytest.mark.parametrize("runtime", ["torchscript", "pt2", "pt2-fp16"])
def test_a_graph_gives_what_the_kernels_give(folder: Path, runtime: str) -> None:
    _same_as_a_graph(folder, runtime)


def _same_as_a_graph(folder: Path, runtime: str) -> None:
    model = load(folder, runtime, device="cuda")
    assert isinstance(model.runtime, CudaGraphs)
    shape = (64, *model.manifest.input_shape)
    inputs = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    together = model(inputs)
    for row in range(64):
        one = model(inputs[row : row + 1])
        np.testing.assert_allclose(one[0], together[row], atol=0.05, rtol=0.01)
        on_device = model.runtime.run(model.runtime.to_native(inputs[row : row + 1]))
        np.testing.assert_array_equal(model.runtime.to_numpy(on_device), one)


def test_threads_share_one_graph(folder: Path) -> None:
    model = load(folder, "pt2", device="cuda")
    inputs = np.random.default_rng(2).normal(size=(200, 1, 1, 28, 28)).astype(np.float32)
    alone = [model(image) for image in inputs]
    with ThreadPoolExecutor(8) as pool:
        np.testing.assert_array_equal(list(pool.map(model, inputs)), alone)


def test_a_file_for_the_gpu_says_so_on_the_cpu(folder: Path) -> None:
    with pytest.raises(ValueError, match="was exported for cuda"):
        load(folder, "pt2-fp16", device="cpu")
