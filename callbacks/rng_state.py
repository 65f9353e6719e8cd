"""Random generator states in the checkpoint, for runs that resume exactly."""

import random
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn


class RNGState(pl.Callback):
    """Saves the states of Python's and torch's global generators, and restores them on resume.

    Lightning's checkpoints leave these out, so dropout would continue with other masks than in an
    uninterrupted run. Every process of a distributed run keeps its own states. A run resumed with
    another number of processes warns and continues with the states that its seed set.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        mine = {"python": random.getstate(), "torch": torch.get_rng_state()}
        if pl_module.device.type == "cuda":
            mine["cuda"] = torch.cuda.get_rng_state(pl_module.device)
        states = [mine]
        if trainer.world_size > 1:
            states = [{}] * trainer.world_size
            torch.distributed.all_gather_object(states, mine)
        checkpoint["rng_states"] = states

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != TrainerFn.FITTING:  # a test or validation continues nothing
            return
        states = checkpoint.get("rng_states", [])
        if len(states) != trainer.world_size:
            rank_zero_warn(
                f"the checkpoint holds the random generator states of {len(states)} processes and "
                f"this run has {trainer.world_size}: dropout and other random numbers differ from "
                "those of a run in one go; resume with as many devices to continue exactly",
                category=UserWarning,
            )
            return
        self._restored = states[trainer.global_rank]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._restored is None:
            return
        random.setstate(self._restored["python"])
        torch.set_rng_state(self._restored["torch"])
        if "cuda" in self._restored and pl_module.device.type == "cuda":
            torch.cuda.set_rng_state(self._restored["cuda"], pl_module.device)
        self._restored = None
