"""What torch's operations read, write and make, counted while they run."""

from typing import Any

import torch
import torch._dynamo  # the first operation within a dispatch mode would, for seconds
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class MemoryCount(TorchDispatchMode):
    """Counts tensors of floating-point numbers while it is entered.

    Views count as nothing, as they neither read nor write.

    Attributes:
        largest: shape of the largest tensor that an operation returned.
        moved: bytes of all arguments and results.
    """

    def __init__(self) -> None:
        super().__init__()
        self.largest: tuple[int, ...] = ()
        self.moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **kwargs or {})
        taken, made = _floats((args, kwargs)), _floats(result)
        if not func.is_view:
            self.moved += sum(tensor.nbytes for tensor in taken + made)
        for tensor in made:
            if tensor.numel() > torch.Size(self.largest).numel():
                self.largest = tuple(tensor.shape)
        return result


def _floats(tree: Any) -> list[Tensor]:
    leaves = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
    return [leaf for leaf in leaves if leaf.is_floating_point()]
