"""Operations and bytes of one training step, counted while it is computed."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lightning_modules.flops import flop_counter


class StepCounter(AbstractContextManager):
    """Counts what the operators within it compute, read and write.

    ``flops`` are those of matrix products, convolutions and attention. ``bytes`` are the sizes of
    the operators' inputs and outputs, each counted at each operator: what a device without caches
    would move. ``product_bytes`` are those of the operators that count in ``flops``.
    """

    def __init__(self) -> None:
        self.flops = 0
        self._flops = flop_counter()
        self._bytes = _Bytes(self._flops.flop_registry)

    @property
    def bytes(self) -> int:
        return self._bytes.total

    @property
    def product_bytes(self) -> int:
        return self._bytes.products

    def __enter__(self) -> "StepCounter":
        self._bytes.__enter__()
        self._flops.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._flops.__exit__(*error)
        self._bytes.__exit__(*error)
        self.flops = self._flops.get_total_flops()


class _Bytes(TorchDispatchMode):
    supports_higher_order_operators = True  # which are computed, and not counted

    def __init__(self, formulas: Any) -> None:
        super().__init__()
        self._formulas = formulas
        self.total = self.products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not isinstance(func, OpOverload):
            return out
        if torch.Tag.inplace_view in func.tags or func.is_view:
            return out
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
        moved = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        self.total += moved
        if func._overloadpacket in self._formulas:
            self.products += moved
        return out
