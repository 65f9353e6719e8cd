"""What every data module keeps in a checkpoint, so that a run resumes with the same data."""

import hashlib
from collections.abc import Iterable
from typing import Any, ClassVar

import lightning.pytorch as pl
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from datamodules.ordered import refuse_other_order


class ResumableDataModule(pl.LightningDataModule):
    """Compares, before a run resumes, what the order of its training data depends on.

    A subclass names its options in ``order_options``, sets ``content`` in ``setup`` and calls
    :meth:`refuse_unknown_order` in ``train_dataloader``. Validation, test and prediction of a
    checkpoint may use other options.
    """

    order_options: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.content = ""  # sha256 of what is trained on
        self._compared = False

    @property
    def _fitting(self) -> bool:
        return self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING

    def _order(self) -> dict[str, Any]:
        options = {name: getattr(self, name) for name in self.order_options}
        if self.trainer is not None:
            options["processes"] = self.trainer.world_size
            options["overfit_batches"] = self.trainer.overfit_batches
        return options | {"content": self.content}

    def state_dict(self) -> dict[str, Any]:
        return {"order": self._order()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compares what the order depends on, if this is a fit.

        Raises:
            ValueError: a value differs; names it and the remedy.
        """
        self._compared = True
        if self._fitting:
            refuse_other_order(state_dict.get("order", {}), self._order())

    def refuse_empty_validation(self, option: str) -> None:
        """Lightning ends a validation without data with nothing said.

        Raises:
            ValueError: this is ``validate``, and nothing is held out.
        """
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.VALIDATING:
            raise ValueError(
                f"there is nothing to validate on, because {option} is 0; give the value of the "
                f"training, --data.init_args.{option}"
            )

    def refuse_unknown_order(self) -> None:
        """Lightning calls no hook where a checkpoint holds no state of this class.

        Raises:
            ValueError: a fit resumes from a checkpoint of another data module, or an old one.
        """
        trainer = self.trainer
        if trainer is None or not self._fitting or self._compared:
            return
        # Sharded weights are restored after the loaders are asked for.
        if trainer.ckpt_path and not trainer.strategy.restore_checkpoint_after_setup:
            raise ValueError(
                f"the checkpoint {trainer.ckpt_path} holds no state of "
                f"{type(self).__name__}: it was trained on another data module, or an earlier "
                "version wrote it; resume with the data of that run, or start a new run without "
                "--ckpt_path"
            )


def sha256(tensors: Iterable[Tensor]) -> str:
    """sha256 over shapes, types and bytes of tensors on the CPU."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
