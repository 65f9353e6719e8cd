"""Exported programs through torch.compile."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from exporting.images import Source, export
from exporting.images.programs import HalfInside, program
from inference import load
from inference.runtimes.compiled import compiled, convolution, product


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": (1, 1)},
        {"stride": (2, 3), "padding": (1, 2)},
        {"dilation": (2, 1)},
        {"groups": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_convolution_is_torchs(batch: int, options: dict, bias: bool) -> None:
    x = torch.randn(batch, 4, 9, 11)
    weight = torch.randn(6, 4 // options.get("groups", 1), 3, 2)
    added = torch.randn(6) if bias else None
    expected = F.conv2d(x, weight, added, **options)
    torch.testing.assert_close(convolution(x, weight, added, **options), expected)


@pytest.mark.parametrize("shape", [(1, 7), (1, 1, 7), (2, 7), (1, 3, 7)])
def test_a_product_is_torchs(shape: tuple[int, ...]) -> None:
    x, weight, bias = torch.randn(shape), torch.randn(5, 7), torch.randn(5)
    torch.testing.assert_close(product(x, weight, bias), F.linear(x, weight, bias))
    torch.testing.assert_close(product(x, weight), F.linear(x, weight))


@pytest.mark.slow
def test_a_program_in_half_precision() -> None:
    torch.compiler.reset()
    net = HalfInside(nn.Sequential(nn.Linear(5, 4), nn.ReLU())).eval().requires_grad_(False)
    exported = program(net, torch.zeros(2, 5)).module().requires_grad_(False)
    asserts = torch.ops.aten._assert_tensor_metadata.default
    assert any(node.target is asserts for node in exported.graph.nodes)
    fast, x = compiled(exported), torch.randn(1, 5)
    assert not any(node.target is asserts for node in exported.graph.nodes)
    torch.testing.assert_close(fast(x), net(x), atol=5e-3, rtol=5e-3)


@pytest.mark.slow
def test_a_compiled_artifact_gives_the_same_answers(artifact: Path) -> None:
    torch.compiler.reset()
    inputs = np.random.default_rng(0).normal(size=(3, 1, 28, 28)).astype(np.float32)
    model, plain = load(artifact, compile=True), load(artifact, "pt2")
    assert model.runtime.format == "pt2"
    for rows in (inputs[:1], inputs):
        np.testing.assert_allclose(model(rows), plain(rows), atol=1e-4)
    with pytest.raises(ValueError, match="takes pt2 and pt2-fp16 files, not onnx; export"):
        load(artifact, "onnx", compile=True)


def test_an_artifact_with_nothing_to_compile_says_so(tmp_path: Path) -> None:
    net = nn.Linear(2, 2).eval().requires_grad_(False)
    description = {"task": "tensor", "input": {"shape": [2], "dtype": "float32"}, "labels": None}
    inputs, targets = np.eye(2, dtype=np.float32), np.arange(2)
    export(Source(net, inputs, targets, description), tmp_path / "net", ["torchscript"], "cpu")
    with pytest.raises(ValueError, match=r"has no pt2 or pt2-fp16 file.*--format pt2"):
        load(tmp_path / "net", compile=True)
