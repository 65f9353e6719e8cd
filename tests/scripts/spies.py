"""Callbacks that runs in other processes load by their class path."""

import os
import signal
import threading
from pathlib import Path

import lightning.pytorch as pl
import torch


class KillAt(pl.Callback):
    """Ends the process as a power cut would, after an optimizer step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


class Interrupt(pl.Callback):
    """Ctrl-C in the middle of the second epoch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == 60:
            os.kill(os.getpid(), signal.SIGINT)


class InterruptSetup(pl.Callback):
    """Ctrl-C before the first optimizer step."""

    def setup(self, trainer, pl_module, stage) -> None:
        os.kill(os.getpid(), signal.SIGINT)


class BadMatmul(pl.Callback):
    """An error of torch in a user's own code."""

    def on_train_start(self, trainer, pl_module) -> None:
        torch.matmul(torch.ones(2, 3), torch.ones(2, 3))


class SignalAfter(pl.Callback):
    """Sends this process a signal some seconds after an optimizer step, whatever it does then."""

    def __init__(self, step: int, seconds: float, number: int) -> None:
        self.step = step
        self.seconds = seconds
        self.number = number

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            timer = threading.Timer(self.seconds, os.kill, (os.getpid(), self.number))
            timer.daemon = True
            timer.start()


class TermLastRank(pl.Callback):
    """SIGTERM to the last of several processes alone, after an optimizer step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step and trainer.global_rank == trainer.world_size - 1:
            os.kill(os.getpid(), signal.SIGTERM)


class StopAt(pl.Callback):
    """Asks the run to stop in the first hook of a name after so many optimizer steps."""

    def __init__(self, hook: str, step: int) -> None:
        def stop(trainer: pl.Trainer, *_: object) -> None:
            trainer.should_stop |= trainer.global_step >= step

        setattr(self, hook, stop)


class ListImages(pl.Callback):
    """Writes one number an image that a process was given, to ``<stage>-<rank>.pt``."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.seen: dict[str, list[torch.Tensor]] = {"train": [], "test": []}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.seen["train"].append(fingerprint(batch[0]))

    def on_test_batch_end(
        self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0
    ) -> None:
        self.seen["test"].append(fingerprint(batch[0]))

    def on_train_end(self, trainer, pl_module) -> None:
        self._write("train", trainer.global_rank)
        torch.save(pl_module.state_dict(), self.folder / f"weights-{trainer.global_rank}.pt")

    def on_test_end(self, trainer, pl_module) -> None:
        self._write("test", trainer.global_rank)

    def _write(self, stage: str, rank: int) -> None:
        torch.save(torch.cat(self.seen[stage]), self.folder / f"{stage}-{rank}.pt")


def fingerprint(images: torch.Tensor) -> torch.Tensor:
    """A number that tells images (B, 1, 28, 28) apart, however they are batched."""
    weights = torch.randn(28 * 28, generator=torch.Generator().manual_seed(0)).double()
    return (images.cpu().flatten(1).double() * weights).sum(dim=1).round(decimals=6)
