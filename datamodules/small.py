"""What the course's small data sets share: tensors made in memory and cut into batches."""

from abc import ABC, abstractmethod

from torch import Tensor

from datamodules.resident import ResidentLoader
from datamodules.resumable import ResumableDataModule, sha256


class SmallDataModule(ResumableDataModule, ABC):
    """A data set small enough to be made in memory, held on the training device.

    Args:
        batch_size: rows a training step; all of them where it is 0, so that an epoch is one step.
        seed: seed of the data, where it is drawn, and of its order.

    Raises:
        ValueError: a negative ``batch_size``.
    """

    order_options = ("seed", "batch_size")

    def __init__(self, batch_size: int = 0, seed: int = 0) -> None:
        super().__init__()
        if batch_size < 0:
            raise ValueError(f"batch_size must be 0 (all rows) or more, got {batch_size}")
        self.batch_size = batch_size
        self.seed = seed
        self.splits: dict[str, tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def make(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Inputs and targets of ``train`` and of ``test``."""

    def setup(self, stage: str) -> None:
        if self.splits:
            return
        self.splits = self.make()
        self.content = sha256(self.splits["train"])
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            self.splits = {
                name: (inputs.to(device), targets.to(device))
                for name, (inputs, targets) in self.splits.items()
            }

    def train_dataloader(self) -> ResidentLoader:
        self.refuse_unknown_order()
        tensors = self.splits["train"]
        size = self.batch_size or len(tensors[0])
        # One batch an epoch needs no order.
        return ResidentLoader(tensors, size, size < len(tensors[0]), self.seed)

    def test_dataloader(self) -> ResidentLoader:
        tensors = self.splits["test"]
        return ResidentLoader(tensors, len(tensors[0]))

    def predict_dataloader(self) -> ResidentLoader:
        return self.test_dataloader()
