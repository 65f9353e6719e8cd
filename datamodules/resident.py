"""A loader for data sets that fit on the training device.

A small data set read through worker processes leaves a GPU waiting: each image costs more Python
than arithmetic. Here the whole set is tensors on the device and a batch is one ``index_select`` per
tensor.
"""

from collections.abc import Callable, Iterator

from torch import Tensor

from datamodules.ordered import OrderedLoader


class ResidentLoader(OrderedLoader):
    """Iterates over aligned tensors in batches cut by index, without copies from the host.

    See :class:`~datamodules.ordered.OrderedLoader` for the arguments and the order.
    """

    def gather(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The batch of some row numbers (B,): one ``index_select`` per tensor."""
        return tuple(tensor.index_select(0, rows) for tensor in self.tensors)

    # Both are generators: nothing changes until the first batch is asked for, so that Lightning's
    # trial call of iter() does not spend an epoch.
    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        batches = self._begin()
        while self._position < len(batches):
            self._position += 1
            yield self.gather(batches[self._position - 1])

    def chunks(self, room: Callable[[], int]) -> Iterator[list[Tensor]]:
        """The rest of an epoch as row numbers (B,) of several batches at once.

        Args:
            room: asked before each chunk for the number of batches that it holds.
        """
        batches = self._begin()
        while self._position < len(batches):
            chunk = batches[self._position : self._position + room()]
            self._position += len(chunk)
            yield chunk
