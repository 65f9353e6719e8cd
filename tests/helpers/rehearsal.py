"""The graph strategies on a CPU: what would be captured is called again for each replay."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from training.strategies import CUDAGraphStrategy
from training.strategies.recorder import Recorder, Recording, _explain, rounded_rates


class Rehearsal(Recorder):
    """A Recorder without graphs: a capture leaves no trace, a replay calls the function again."""

    def __init__(self, strategy: CUDAGraphStrategy) -> None:
        self.strategy = strategy

    @contextmanager
    def aside(self) -> Iterator[None]:
        yield

    def capture(self, function: Callable[[], Any]) -> Recording:
        tensors = self._tensors()
        before = [tensor.detach().clone() for tensor in tensors]
        try:
            with torch.random.fork_rng(devices=[]):
                result = function()
        except Exception as error:
            raise ValueError(_explain(error)) from error
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                if not torch.equal(tensor, value):  # autograd notices every write
                    tensor.copy_(value)

        def replay() -> None:
            with torch.enable_grad():
                again = function()
            for memory, value in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(memory, Tensor) and memory is not value:
                    memory.copy_(value)

        return Recording(replay, result)

    def _tensors(self) -> list[Tensor]:
        """All that a captured function changes in place."""
        module = self.strategy.lightning_module
        optimizer = self.strategy.optimizers[0]
        owned: list[Any] = [*module.parameters(), *module.buffers(), *optimizer.state.values()]
        owned += [vars(part) for part in (self.strategy._stepper,) if part is not None]
        return [leaf for leaf in tree_leaves(owned) if isinstance(leaf, Tensor)]


class RehearsedStrategy(CUDAGraphStrategy):
    """``CUDAGraphStrategy`` that takes its own way on a CPU, too; on a GPU it is the very same."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(without_gpu="auto", **kwargs)

    @property
    def captures(self) -> bool:
        return True

    @property
    def _recorder(self) -> Recorder:
        return super()._recorder if self.root_device.type == "cuda" else Rehearsal(self)


class RoundedStrategy(CUDAGraphStrategy):
    """Lightning's own loop with the learning rates that a graph reads, in float32.

    What graphed steps are compared with: Adam makes much of the last bit of a rate.
    """

    def __init__(self) -> None:
        super().__init__(without_gpu="auto")

    @property
    def captures(self) -> bool:
        return False

    def optimizer_step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        with rounded_rates(optimizer):
            return super().optimizer_step(optimizer, *args, **kwargs)
