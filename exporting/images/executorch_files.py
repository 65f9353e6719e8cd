"""ExecuTorch files for phones and boards: XNNPACK's kernels, one input at a time."""

import copy
import importlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def write_executorch(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """float32."""
    _lower(net, example[:1], path)


def write_executorch_int8(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """Weights and activations in int8; the ranges of the activations are those of ``example``.

    Convolutions are quantized, too, with a scale for each output channel.
    """
    quantizer = _import("executorch.backends.xnnpack.quantizer.xnnpack_quantizer")
    pt2e = _import("torchao.quantization.pt2e.quantize_pt2e")
    one = example[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = _graph(copy.deepcopy(net), one).module()
        config = quantizer.get_symmetric_quantization_config(is_per_channel=True)
        observed = pt2e.prepare_pt2e(graph, quantizer.XNNPACKQuantizer().set_global(config))
        with torch.no_grad():
            for row in example.split(1):
                observed(row)
        quantized = pt2e.convert_pt2e(observed)
    _lower(quantized, one, path)


def _lower(net: nn.Module, one: Tensor, path: Path) -> None:
    exir = _import("executorch.exir")
    partitioner = _import("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns about its own imports
        try:
            edge = exir.to_edge_transform_and_lower(
                _graph(net, one), partitioner=[partitioner.XnnpackPartitioner()]
            )
            path.write_bytes(edge.to_executorch().buffer)
        except Exception as error:  # the passes behind it raise many kinds
            raise ValueError(
                f"ExecuTorch cannot lower {type(net).__name__}; leave executorch out. It says: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error


def _graph(net: nn.Module, one: Tensor) -> torch.export.ExportedProgram:
    with torch.no_grad():
        return torch.export.export(net, (one,))


def _import(name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        raise ValueError(
            f"this executorch does not work beside torch {torch.__version__} ({error}); leave the "
            "executorch formats out"
        ) from error
