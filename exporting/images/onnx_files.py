"""ONNX files: one self-contained file, dynamic batch, no traces of the machine it was made on."""

import logging
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# A matrix below this many weights stays in float32: quantizing its input takes longer than its
# multiplication, and its bytes are few (10 x 64 weights of the MNIST CNN: 0.8 us of 23, 1.2 KB).
_SMALL = 4096


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
    """Linear layers in int8, one scale a matrix, activations quantized at run time.

    Convolutions stay in float32: their dynamic int8 form is slower than float32 by a factor. Small
    matrices do, too, unless all are small. A scale for each output channel would cost 3 % of the
    time at batch 1 and change the outputs of the MNIST CNN by 0.020 instead of 0.029 on average.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if not any(isinstance(module, nn.Linear) for module in net.modules()):
        raise ValueError(
            "onnx-int8 quantizes linear layers, and this net has none; leave onnx-int8 out"
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
            # With signed weights a CPU without VNNI adds pairs of products in 16 bits, which
            # overflow: the outputs differed ten times as much.
            weight_type=QuantType.QUInt8,
            nodes_to_exclude=_small_layers(onnx.load(plain)),
        )
    finally:
        logger.setLevel(level)
        plain.unlink()
    model = onnx.load(path)
    _strip(model)
    path.write_bytes(model.SerializeToString())


def _small_layers(model: Any) -> list[str]:
    """Names of the products with small matrices, before and after quantize_dynamic."""
    sizes = {weights.name: math.prod(weights.dims) for weights in model.graph.initializer}
    products = {
        node.name: sizes[node.input[1]]
        for node in model.graph.node
        if node.op_type in ("Gemm", "MatMul") and node.input[1] in sizes
    }
    small = [name for name, size in products.items() if size < _SMALL]
    if len(small) == len(products):
        return []
    return small + [f"{name}_MatMul" for name in small]


def _strip(model: Any) -> None:
    """Removes stack traces (with the paths of this machine) and notes: 4 % of a small file."""
    del model.metadata_props[:]
    graph = model.graph
    del graph.metadata_props[:], graph.value_info[:]
    for part in (graph.node, graph.input, graph.output, graph.initializer):
        for item in part:
            del item.metadata_props[:]
            item.doc_string = ""
