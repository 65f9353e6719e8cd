"""Signals that end a run of several processes, or a SLURM job: all end after the same step."""

import os
import signal
import subprocess
import threading

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

STOP, REQUEUE = 1, 2


class Preemption:
    """Remembers SIGTERM and SLURM's requeue signal until every process has taken the same step.

    Lightning acts within the signal handler: it calls a collective, which the other processes
    answer with whichever one is their next, and saves a SLURM job from the middle of a step to
    ``hpc_ckpt_1.ckpt``, which every later job under the same ``default_root_dir`` would resume.
    Both handlers are replaced where there are several processes or a SLURM job; one process alone
    keeps Lightning's.
    """

    def __init__(self) -> None:
        self._asked = self._agreed = 0
        self._installed = False

    def prepare(self, trainer: pl.Trainer) -> None:
        """Takes the requeue signal before Lightning does, which leaves a handler that is there."""
        self._asked = self._agreed = 0
        slurm = _slurm(trainer)
        self._installed = _in_main_thread() and (trainer.world_size > 1 or slurm is not None)
        if self._installed and slurm is not None and slurm.auto_requeue:
            signal.signal(_requeue_signal(slurm), self._ask_requeue)

    def install(self, trainer: pl.Trainer) -> None:
        """Takes SIGTERM from Lightning, which takes it back at the end of the fit."""
        if not self._installed:
            return
        slurm = _slurm(trainer)
        if slurm is None or _requeue_signal(slurm) != signal.SIGTERM or not slurm.auto_requeue:
            signal.signal(signal.SIGTERM, self._ask_stop)
        else:
            signal.signal(signal.SIGTERM, self._ask_requeue)
        # One collective per step as before: agree() is in the place of Lightning's broadcast.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None

    def agree(self, trainer: pl.Trainer) -> None:
        """Sets ``trainer.received_sigterm`` in all processes if a signal has reached one of them.

        Every process calls this after the same step, where a checkpoint can be written.
        """
        if not self._installed or trainer.received_sigterm:
            return
        asked = torch.tensor(self._asked, device=trainer.strategy.root_device)
        if trainer.world_size > 1:
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        # Not into _asked: a signal that came meanwhile is for the next step.
        self._agreed = int(asked)
        trainer._signal_connector.received_sigterm = self._agreed > 0

    def requeue_if_asked(self, trainer: pl.Trainer) -> None:
        """Has SLURM put the job back into its queue; once, by the first process.

        Raises:
            ValueError: SLURM does not.
        """
        agreed, self._agreed = self._agreed, 0
        slurm = _slurm(trainer)
        if not agreed or slurm is None or not slurm.auto_requeue or not trainer.is_global_zero:
            return
        job = os.environ["SLURM_JOB_ID"]
        if agreed < REQUEUE and not _is_preempted(job):
            return
        said = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
        if said.returncode:
            raise ValueError(
                f"SLURM did not requeue job {job} ({said.stderr.strip()}); last.ckpt is written: "
                "submit the job with --requeue another time, and continue with --ckpt_path last"
            )
        print(f"gpu-learning: job {job} is requeued and will resume from last.ckpt", flush=True)

    def _ask_stop(self, *_: object) -> None:
        self._ask(STOP)

    def _ask_requeue(self, *_: object) -> None:
        self._ask(REQUEUE)

    def _ask(self, what: int) -> None:
        if not self._asked:
            # print() must not be called while the interrupted code prints.
            os.write(2, b"gpu-learning: a signal has come; ends after this step\n")
        self._asked = max(self._asked, what)


def _is_preempted(job: str) -> bool:
    """Whether SIGTERM began the grace time of a job that makes room for another.

    A job that ends within that time has ended for SLURM. One that is cancelled or requeued by a
    person gets SIGTERM as well, and is no longer running for SLURM then.
    """
    told = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True)
    words = told.stdout.split()
    preempted = any(w.startswith("PreemptTime=") and w != "PreemptTime=None" for w in words)
    return preempted and "JobState=RUNNING" in words


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _slurm(trainer: pl.Trainer) -> SLURMEnvironment | None:
    environment = trainer._accelerator_connector.cluster_environment
    return environment if isinstance(environment, SLURMEnvironment) else None


def _requeue_signal(slurm: SLURMEnvironment) -> signal.Signals:
    assert slurm.requeue_signal is not None  # Lightning's default is SIGUSR1
    return slurm.requeue_signal
