"""How many threads of a CPU a run computes with."""

import os

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from lightning_modules.flops import count_flops

# Operations of one forward pass from which a second thread earns what it costs.
WORTH_SHARING = 1e9
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


class CPUThreads(pl.Callback):
    """Runs small nets on one thread and leaves large ones the threads that torch has.

    The threads of one operation wait for each other in a busy loop. In a net whose batch takes a
    few milliseconds, a second thread saves a tenth to a fifth on a quiet machine; where another
    process uses that core, every operation waits for it, and an epoch takes 20 to 30 times as long.

    The work is that of one batch: the floating-point operations of a forward pass on the module's
    ``example_input_array``, counted by ``torch.utils.flop_counter``, times the batch size of the
    data loader. Nothing is changed on a GPU, where ``OMP_NUM_THREADS`` or ``MKL_NUM_THREADS`` is
    set, or where the work is not known: no example, or a data loader without a batch size.

    Args:
        threads: how many; None chooses as above.

    Raises:
        ValueError: fewer than one thread.
    """

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self.threads = threads
        self._before: int | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._before = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._choose(trainer, pl_module, trainer.train_dataloader)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Between the epochs of a fit the number stays what it is.
        if trainer.sanity_checking or trainer.state.fn == TrainerFn.VALIDATING:
            self._choose(trainer, pl_module, trainer.val_dataloaders)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._choose(trainer, pl_module, trainer.test_dataloaders)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._choose(trainer, pl_module, trainer.predict_dataloaders)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._before is not None:
            torch.set_num_threads(self._before)

    def _choose(self, trainer: pl.Trainer, module: pl.LightningModule, loader: object) -> None:
        if trainer.strategy.root_device.type != "cpu":
            return
        before = torch.get_num_threads() if self._before is None else self._before
        threads, reason = self.threads, "as asked"
        if threads is None:
            rows = getattr(loader, "batch_size", None)
            if rows is None or any(map(os.environ.get, VARIABLES)):
                return
            if (example := module.example_input_array) is None:
                return
            work = count_flops(module, example, trainer.precision_plugin) * rows
            threads = before if work >= WORTH_SHARING else 1
            reason = f"a batch of {operations(work)} operations gains little from more"
        torch.set_num_threads(threads)
        if trainer.training and threads != before:
            rank_zero_info(
                f"trains with {threads} of {os.cpu_count()} CPU threads: {reason}; "
                "--cpu_threads.threads N or OMP_NUM_THREADS=N changes it"
            )
        self._before = before


def operations(count: float) -> str:
    """``400``, ``21 thousand``, ``4.5 million``."""
    for unit, name in ((1e6, " million"), (1e3, " thousand")):
        if count >= unit:
            return f"{count / unit:,.{0 if count >= 10 * unit else 1}f}{name}"
    return f"{count:,.0f}"
