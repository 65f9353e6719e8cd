"""A fit, of which some steps are timed and as many recorded."""

from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.utilities.model_helpers import is_overridden

from callbacks import Compile, CPUThreads, MatmulPrecision, ReduceLROnPlateau, UseKernels
from callbacks.export_best import ExportBest
from callbacks.idle_hooks import STEP_HOOKS
from callbacks.text_samples import TextSamples
from training.profiling.division import Measured
from training.profiling.recorder import LOADING_ACTIONS, StepRecorder
from training.profiling.trace import Recording, read_trace

# What the Trainer calls actions that enclose others.
_ENCLOSING = ("run_training_batch", "run_training_epoch", "optimizer_step")


class Session:
    """Times and records a fit: warm-up steps, ``steps`` without and ``steps`` with a profiler.

    A step is one batch. Nothing but the trace is written: the Trainer does not validate, has no
    logger, and of its callbacks only those that take part in a step stay.

    Args:
        trainer: that will fit.
        steps: how many are timed, and recorded; at least 1.
        trace: file of the Chrome JSON that the recording is kept in.

    Raises:
        ValueError: fewer than one step.

    Example::

        session = Session(trainer, 20, Path("trace.json"))
        trainer.fit(module, datamodule=data)
        division = divide(session.recording(), session.measured)
    """

    def __init__(self, trainer: pl.Trainer, steps: int, trace: Path) -> None:
        if steps < 1:
            raise ValueError(f"there must be at least 1 step to profile, got {steps}")
        self.trainer = trainer
        self.trace = trace
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        self.left_out = [type(c).__name__ for c in callbacks if not _takes_part(c)]
        self._recorder = StepRecorder(steps, trace)
        trainer.callbacks = [c for c in callbacks if _takes_part(c)]  # type: ignore[attr-defined]
        trainer.callbacks.append(self._recorder)  # type: ignore[attr-defined]
        trainer.profiler = self._recorder.times  # type: ignore[attr-defined]
        trainer.loggers = []
        trainer.limit_val_batches = trainer.num_sanity_val_steps = 0  # type: ignore[attr-defined]
        # What is recorded ends the fit, and no least number of epochs or steps.
        trainer.fit_loop.min_epochs = trainer.fit_loop.epoch_loop.min_steps = None

    def _check(self) -> None:
        done, steps = self._recorder.batches, self._recorder.steps
        if self._recorder.recorded < steps:
            raise ValueError(
                f"the fit ended after {done} batches, before {steps} were timed and {steps} "
                "recorded; take fewer --steps, or a larger --trainer.max_epochs or "
                "--trainer.max_steps"
            )

    @property
    def measured(self) -> Measured:
        """What was measured without torch's profiler."""
        self._check()
        recorder, device = self._recorder, self.trainer.strategy.root_device
        timed = recorder.timed
        spent = {name: time / timed for name, time in recorder.times.spent.items()}
        counter = recorder.counter
        flops = recorder.chunk_flops if counter is None else counter.flops
        return Measured(
            "cuda" if device.type == "cuda" else "cpu",
            recorder.seconds / timed,
            sum(time for name, time in spent.items() if name.endswith(LOADING_ACTIONS)),
            flops,
            counter and counter.bytes,
            counter and counter.product_bytes,
            recorder.peak,
            {name: time for name, time in spent.items() if not name.endswith(_ENCLOSING)},
        )

    @property
    def threads(self) -> int:
        """CPU threads that the recorded steps computed with."""
        return self._recorder.threads

    def recording(self) -> Recording:
        """What was recorded, read from the trace.

        Raises:
            ValueError: the fit ended too early, or nothing was recorded of the GPU.
        """
        self._check()
        if not self.trace.is_file():
            raise ValueError(f"the trace could not be written to {self.trace}; is the disk full?")
        recording = read_trace(self.trace, self._recorder.recorded)
        if self.trainer.strategy.root_device.type == "cuda" and not recording.kernels:
            raise ValueError(
                "torch's profiler recorded nothing of the GPU; it needs CUPTI, whose messages "
                "KINETO_LOG_LEVEL=0 shows, and no other profiler beside it"
            )
        return recording


def _takes_part(callback: pl.Callback) -> bool:
    """Whether a callback belongs to a step; all others write, draw or wait for an epoch's end."""
    if isinstance(callback, (Checkpoint, ExportBest, ProgressBar, ReduceLROnPlateau, TextSamples)):
        return False
    prepares = isinstance(callback, (Compile, CPUThreads, MatmulPrecision, UseKernels))
    return prepares or any(is_overridden(hook, callback) for hook in STEP_HOOKS)
