"""Batches in an order that a seed and the number of the epoch decide."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

# Options that are not of the data module; all others are.
_OPTIONS = {
    "processes": "--trainer.devices",
    "overfit_batches": "--trainer.overfit_batches",
    "shuffle": "shuffle",
}


def refuse_other_order(saved: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Compares what the order of a checkpoint's data depends on with what this run has.

    Raises:
        ValueError: a value differs, or the checkpoint does not hold it; names it and the remedy.
    """
    for name, value in mine.items():
        if name not in saved:
            raise ValueError(
                f"the checkpoint does not hold the {name} of its data (an earlier version wrote "
                "it), so it cannot be resumed exactly; start a new run without --ckpt_path"
            )
        if saved[name] == value:
            continue
        if name in ("content", "rows"):
            told = f" ({saved[name]} rows, now {value})" if name == "rows" else ""
            raise ValueError(
                f"the checkpoint was trained on other data than this run reads{told}; resume with "
                "the data of that run, or start a new run without --ckpt_path"
            )
        option = _OPTIONS.get(name, f"--data.init_args.{name}")
        raise ValueError(
            f"the checkpoint's data order was made with {name} {saved[name]}, this run has "
            f"{value}; resume with {option} {saved[name]}"
        )


class OrderedLoader:
    """Aligned tensors and the rows of each batch; a subclass says how a batch is made of its rows.

    Every epoch has its own order, derived from ``seed`` and the epoch's number alone, so a run can
    be stopped at any batch and continued from :meth:`state_dict`. With several processes each one
    takes its share of every global batch; every row is seen exactly once per epoch.

    Args:
        tensors: tensors with the same first dimension N, all on one device.
        batch_size: rows per batch and process. The last batch is smaller; with several processes
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
        """Batches per epoch, the same in every process."""
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
        """Starts the next epoch, or continues a restored one; returns all its row numbers."""
        if not (self._resume and self._position < len(self)):
            self._epoch += 1
            self._position = 0
        self._resume = False
        return self._mine(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is of this epoch: Lightning restores no loader between two epochs."""
        if not self._resume:
            self._epoch = epoch - 1

    def _depends_on(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "processes": self.world_size,
            "rows": self.rows,
            "shuffle": self.shuffle,
        }

    def state_dict(self) -> dict[str, Any]:
        """The epoch begun last, the batches yielded of it, and what its order depends on."""
        return {"epoch": self._epoch, "position": self._position, **self._depends_on()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where ``state`` was taken.

        Raises:
            ValueError: the order of this loader is another than that of the state.
        """
        refuse_other_order(state, self._depends_on())
        self._epoch = state["epoch"]
        self._position = state["position"]
        self._resume = True
