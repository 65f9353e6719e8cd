"""A loader for data sets that stay in host memory, cut into batches by worker processes."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from datamodules.ordered import OrderedLoader


class HostLoader(OrderedLoader):
    """The batches of a :class:`~datamodules.resident.ResidentLoader`, through a ``DataLoader``.

    What the workers fetch ahead does not count: the state holds the batches that were yielded. The
    ``DataLoader`` has a generator of its own, so that the global one is where a checkpoint says.

    Args:
        args, kwargs: as for :class:`~datamodules.ordered.OrderedLoader`.
        num_workers: worker processes, 0 for none.
        dataset: what the workers read the rows from, such as files; the tensors by default.
    """

    def __init__(
        self,
        *args: Any,
        num_workers: int = 0,
        dataset: Dataset | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._left: list[list[int]] = []  # rows of the batches that the DataLoader has to cut
        self._loader = DataLoader(
            TensorDataset(*self.tensors) if dataset is None else dataset,
            batch_sampler=self._left,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        batches = self._begin()
        self._left[:] = [rows.tolist() for rows in batches[self._position :]]
        for batch in self._loader:
            self._position += 1
            yield tuple(batch)
