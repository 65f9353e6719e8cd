"""Floating-point operations of a module, and how many a device can do per second."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.fabric.utilities.throughput import get_available_flops
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

# Dense, from NVIDIA's data sheets: Lightning's table knows the names of neither H200, and has the
# figures with sparsity, twice as many, of the H100 NVL. The longer name is looked up first.
_DENSE: dict[str, dict[torch.dtype | str, float]] = {
    "H200 NVL": {torch.float64: 30e12, torch.float32: 60e12, "tf32": 418e12, "half": 835.5e12},
    "H200": {torch.float64: 33.5e12, torch.float32: 66.9e12, "tf32": 494.7e12, "half": 989.4e12},
    "H100 NVL": {torch.float64: 30e12, torch.float32: 60e12, "tf32": 418e12, "half": 835.5e12},
}
_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}


def count_flops(
    module: pl.LightningModule, example: Any, precision: Any, backward: bool = False
) -> float:
    """Operations of ``forward`` per row of ``example``, with ``backward`` of both passes.

    Counted by ``torch.utils.flop_counter``: matrix products, convolutions and attention, one
    multiplication and one addition as two. The backward pass is that of the sum of the outputs
    into the parameters that train. What is computed twice (gradient checkpointing) counts twice.
    Modes, gradients, the statistics of a batch norm and random generators stay as they are.

    Args:
        module: on its device.
        example: a tensor, or a tuple or dictionary of arguments, of one row or several.
        precision: the Trainer's precision plugin.
        backward: count the backward pass as well.
    """
    example = move_data_to_device(precision.convert_input(example), module.device)
    arguments = (example,) if isinstance(example, Tensor) else example
    devices = [module.device] if module.device.type == "cuda" else []
    counter = flop_counter()
    with _as_evaluated(module), torch.random.fork_rng(devices), counter:
        with torch.set_grad_enabled(backward), precision.forward_context():
            keywords = isinstance(arguments, dict)
            outputs = module(**arguments) if keywords else module(*arguments)
        if backward:
            _differentiate(module, outputs)
    rows = next(len(leaf) for leaf in tree_leaves(example) if isinstance(leaf, Tensor))
    return counter.get_total_flops() / rows


def flop_counter() -> Any:
    """torch's ``FlopCounterMode``, which up to 2.11 knows no formula of a CPU's attention."""
    # 0.2 s to import, and only here needed
    from torch.utils.flop_counter import (
        FlopCounterMode,
        sdpa_backward_flop_count,
        sdpa_flop_count,
    )

    def forward(*shapes: Any, **kwargs: Any) -> int:  # query, key, value, ...
        return sdpa_flop_count(*shapes[:3])

    def backward(*shapes: Any, **kwargs: Any) -> int:  # gradient, query, key, value, ...
        return sdpa_backward_flop_count(*shapes[:4])

    aten = torch.ops.aten
    attention = {
        aten._scaled_dot_product_flash_attention_for_cpu: forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    return FlopCounterMode(display=False, custom_mapping=attention)


@contextmanager
def _as_evaluated(module: nn.Module) -> Iterator[None]:
    """In eval mode, which leaves the statistics of a batch norm alone; then each part as it was."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def _differentiate(module: nn.Module, outputs: Any) -> None:
    """A backward pass that leaves no gradients behind."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    found = [t for t in tree_leaves(outputs) if isinstance(t, Tensor) and t.requires_grad]
    if parameters and found:
        total = torch.stack([output.float().sum() for output in found]).sum()
        torch.autograd.grad(total, parameters, allow_unused=True)


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Dense operations per second of a card, None where they are not known, as on a CPU.

    In float32 they are TF32's where ``torch.get_float32_matmul_precision()`` is not ``highest``.

    Args:
        device: of the training.
        precision: as the Trainer names it, such as ``bf16-mixed``.
    """
    if device.type != "cuda":
        return None
    dtype = _DTYPES.get(precision.partition("-")[0], torch.float32)
    name = torch.cuda.get_device_name(device)
    for chip, figures in _DENSE.items():
        if chip in name:
            tf32 = dtype is torch.float32 and torch.get_float32_matmul_precision() != "highest"
            half = dtype in (torch.bfloat16, torch.float16)
            return figures["tf32" if tf32 else "half" if half else dtype]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a card that the table does not have
        return get_available_flops(device, dtype)
