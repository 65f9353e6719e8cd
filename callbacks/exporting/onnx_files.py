"""ONNX files: one self-contained file, dynamic batch, no traces of the machine it was made on."""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def write_onnx(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """float32, through torch.export."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            net,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            input_names=["input"],
            output_names=["output"],
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _strip(model)
    path.write_bytes(model.SerializeToString())


def write_onnx_int8(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """Linear layers in int8, weights per output channel, activations quantised at run time.

    Convolutions stay in float32: their dynamic int8 form is slower than float32 by a factor.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if not any(isinstance(module, nn.Linear) for module in net.modules()):
        raise ValueError(
            "onnx-int8 quantises linear layers, and this net has none; leave onnx-int8 out"
        )
    plain = path.with_suffix(".float.onnx")
    write_onnx(net, example, plain, device)
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it advises a pre-processing that torch's exporter has done
    try:
        quantize_dynamic(
            plain,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
    finally:
        logger.setLevel(level)
        plain.unlink()
    model = onnx.load(path)
    _strip(model)
    path.write_bytes(model.SerializeToString())


def _strip(model: Any) -> None:
    """Removes stack traces (with the paths of this machine) and notes: 4 % of a small file."""
    del model.metadata_props[:]
    graph = model.graph
    del graph.metadata_props[:], graph.value_info[:]
    for part in (graph.node, graph.input, graph.output, graph.initializer):
        for item in part:
            del item.metadata_props[:]
            item.doc_string = ""
