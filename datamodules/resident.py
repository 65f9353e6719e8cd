"""A loader for data sets that fit on the training device.

A small data set read through worker processes leaves a GPU waiting: each image costs more Python
than arithmetic. Here the whole set is tensors on the device and a batch is one ``index_select`` per
tensor.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor


class ResidentLoader:
    """Iterates over aligned tensors in batches cut by index, without copies from the host.

    Every epoch has its own order, derived from ``seed`` and the epoch's number alone, so a run can
    be stopped at any batch and continued from :meth:`state_dict`. With several processes each one
    takes its share of every global batch; every row is seen exactly once an epoch.

    Args:
        tensors: tensors with the same first dimension N, all on one device.
        batch_size: rows a batch and process. The last batch is smaller; with several processes
            it may instead be one row larger, where otherwise a process would have no row left.
        shuffle: a new order every epoch.
        seed: seed of the order; the same in every process.
        rank: this process's number, 0 <= rank < world_size.
        world_size: how many processes share the set.

    Raises:
        ValueError: empty or misaligned tensors, a batch size below 1, or fewer rows than processes.
    """

    def __init__(
        self,
        tensors: Sequence[Tensor],
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        lengths = {len(tensor) for tensor in tensors}
        if len(lengths) != 1:
            raise ValueError(f"tensors of one length expected, got lengths {sorted(lengths)}")
        self.rows = lengths.pop()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if self.rows < world_size:
            raise ValueError(
                f"{self.rows} rows cannot be shared by {world_size} processes; use fewer devices"
            )
        self.tensors = tuple(tensors)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._epoch = -1
        self._position = 0
        self._resume = False
        # Where Lightning looks for someone to tell the number of the epoch.
        self.batch_sampler = SimpleNamespace(sampler=self, batch_size=batch_size)

    def __len__(self) -> int:
        """Batches an epoch, the same in every process."""
        full, rest = divmod(self.rows, self.batch_size * self.world_size)
        # A rest that cannot give every process a row joins the batch before it.
        return full + (rest >= self.world_size or full == 0)

    def order(self, epoch: int) -> Tensor:
        """All row numbers in the order of one epoch, on the data's device.  # (N,)"""
        device = self.tensors[0].device
        if not self.shuffle:
            return torch.arange(self.rows, device=device)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(self.rows, generator=generator).to(device)

    def _mine(self, epoch: int) -> list[Tensor]:
        """Row numbers of this process's batches in one epoch."""
        width = self.batch_size * self.world_size
        order = self.order(epoch)
        cuts = [width * step for step in range(1, len(self))]
        return [part[self.rank :: self.world_size] for part in order.tensor_split(cuts)]

    def _begin(self) -> list[Tensor]:
        """Starts the next epoch, or goes on with a restored one; gives all its row numbers."""
        if not (self._resume and self._position < len(self)):
            self._epoch += 1
            self._position = 0
        self._resume = False
        return self._mine(self._epoch)

    def gather(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The batch of some row numbers (B,): one ``index_select`` a tensor."""
        return tuple(tensor.index_select(0, rows) for tensor in self.tensors)

    # Both are generators: nothing changes until the first batch is asked for, so that Lightning's
    # trial call of iter() does not spend an epoch.
    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        batches = self._begin()
        while self._position < len(batches):
            self._position += 1
            yield self.gather(batches[self._position - 1])

    def chunks(self, room: Callable[[], int]) -> Iterator[Tensor]:
        """The rest of an epoch as row numbers of several batches at once.  # (m, B)

        Args:
            room: asked before each chunk for the most batches that it may hold. A batch of another
                size, such as a smaller last one, comes alone.
        """
        batches = self._begin()
        while self._position < len(batches):
            size = len(batches[self._position])
            group = list(
                takewhile(
                    lambda rows, size=size: len(rows) == size,
                    batches[self._position : self._position + room()],
                )
            )
            self._position += len(group)
            yield torch.stack(group)

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is of this epoch: Lightning restores no loader between two epochs."""
        if not self._resume:
            self._epoch = epoch - 1

    def state_dict(self) -> dict[str, Any]:
        """Where the iteration stands: the epoch begun last and the batches given of it."""
        return {"epoch": self._epoch, "position": self._position, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken.

        Raises:
            ValueError: the state was made with another seed, so the order would differ.
        """
        if state["seed"] != self.seed:
            raise ValueError(
                f"the checkpoint's data order was made with seed {state['seed']}, this run has "
                f"seed {self.seed}; resume with --data.init_args.seed {state['seed']}"
            )
        self._epoch = state["epoch"]
        self._position = state["position"]
        self._resume = True
