"""What a session puts into a Trainer: a callback that records, a profiler that sums up."""

import time
import warnings
from collections import defaultdict
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.profilers import Profiler
from torch.profiler import ProfilerAction, ProfilerActivity, profile, record_function

from callbacks import Compile, UseKernels
from lightning_modules.flops import count_flops, peak_flops
from training.profiling.counting import StepCounter
from training.profiling.trace import LOADING, STEP
from training.strategies.chunks import Chunk

WARMUP = 5
# What the Trainer calls its wait for a batch, and the batch's way to the device.
LOADING_ACTIONS = ("train_dataloader_next", "batch_to_device")


class ActionTimes(Profiler):
    """Seconds by action of the Trainer, while ``counts``; marks the waits for data in a trace."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = False
        self.marks = False
        self.spent: dict[str, float] = defaultdict(float)
        self._began: dict[str, float] = {}
        self._marks: dict[str, Any] = {}

    def start(self, action_name: str) -> None:
        if self.counts:
            self._began[action_name] = time.perf_counter()
        if self.marks and action_name.endswith(LOADING_ACTIONS):
            self._marks[action_name] = record_function(LOADING)
            self._marks[action_name].__enter__()

    def stop(self, action_name: str) -> None:
        began = self._began.pop(action_name, None)
        if self.counts and began is not None:
            self.spent[action_name] += time.perf_counter() - began
        if mark := self._marks.pop(action_name, None):
            mark.__exit__(None, None, None)


class StepRecorder(pl.Callback):
    """Counts the first step, times some, records as many, then ends the fit."""

    counts_chunks = True  # see training/strategies/chunks.py

    def __init__(self, steps: int, trace: Path) -> None:
        self.steps = steps
        self.trace = trace
        self.times = ActionTimes()
        self.counter: StepCounter | None = None
        self.batches = self.timed = self.recorded = self.threads = 0
        self.seconds = 0.0
        self.peak: float | None = None
        self.chunk_flops: float | None = None  # per step, where several are one graph
        self._warmup = WARMUP
        self._phase = "warm-up"
        self._counting: AbstractContextManager | None = None
        self._since = 0.0
        self._profile: profile | None = None
        self._mark: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        strategy: Any = trainer.strategy
        if getattr(strategy, "captures", False):
            # Steps without a graph, then those that capture one.
            self._warmup += (strategy.warmup_steps + 1) * trainer.accumulate_grad_batches

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.batches:
            return
        _switch_compiled(trainer, pl_module, on=False)
        if not isinstance(batch, Chunk):
            self.counter = StepCounter()
            self._counting = self.counter.__enter__()
            return
        # The steps of a graph are no operators that could be counted one at a time.
        if (example := pl_module.example_input_array) is not None:
            row = count_flops(pl_module, example, trainer.precision_plugin, backward=True)
            self.chunk_flops = row * len(batch.rows) / len(batch.sizes)
        _switch_compiled(trainer, pl_module, on=True)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._counting is not None:
            self._end_counting()
            _switch_compiled(trainer, pl_module, on=True)
        batches = len(batch.sizes) if isinstance(batch, Chunk) else 1
        self.batches += batches
        device = trainer.strategy.root_device
        if self._phase == "warm-up":
            self._warmup -= batches
            if self._warmup <= 0:
                self._begin_timing(device)
        elif self._phase == "timed":
            self.timed += batches
            if self.timed >= self.steps:
                self._end_timing(device)
        elif self._phase == "settling":
            self._begin_recording(device)
        elif self._phase == "recorded":
            self.recorded += batches
            self._end_mark()
            if self.recorded >= self.steps:
                self.threads = torch.get_num_threads()
                self.peak = peak_flops(device, str(trainer.precision))
                self._end_recording(device)
                trainer.should_stop = True
            else:
                self._begin_mark()

    def _end_counting(self) -> None:
        if self._counting is not None:
            self._counting.__exit__(None, None, None)
            self._counting = None

    def _begin_timing(self, device: torch.device) -> None:
        _synchronize(device)
        self._phase, self.times.counts, self._since = "timed", True, time.perf_counter()

    def _end_timing(self, device: torch.device) -> None:
        _synchronize(device)
        self.seconds = time.perf_counter() - self._since
        self._phase, self.times.counts = "settling", False
        activities = [ProfilerActivity.CPU]
        if device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        with warnings.catch_warnings():
            # torch up to 2.11 warns of several cycles where there is one.
            warnings.filterwarnings("ignore", ".*Profiler clears events", UserWarning)
            self._profile = profile(
                activities=activities,
                # One turn to settle; what follows is recorded until it is stopped.
                schedule=lambda turn: ProfilerAction.RECORD if turn else ProfilerAction.WARMUP,
            )
            self._profile.start()

    def _begin_recording(self, device: torch.device) -> None:
        assert self._profile is not None
        self._profile.step()
        _synchronize(device)
        self._phase, self.times.marks = "recorded", True
        self._begin_mark()

    def _begin_mark(self) -> None:
        self._mark = record_function(STEP)
        self._mark.__enter__()

    def _end_mark(self) -> None:
        if self._mark is not None:
            self._mark.__exit__(None, None, None)
            self._mark = None

    def _end_recording(self, device: torch.device) -> None:
        assert self._profile is not None
        self._phase, self.times.marks = "done", False
        _synchronize(device)
        self._profile.stop()
        self._profile.export_chrome_trace(str(self.trace))
        self._profile = None

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._abandon()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._abandon()

    def _abandon(self) -> None:
        """Turns off what a fit that ended early left on."""
        self._end_counting()
        self.times.counts = self.times.marks = False
        self._end_mark()
        if self._profile is not None:
            self._profile.stop()
            self._profile = None


def _switch_compiled(trainer: pl.Trainer, module: pl.LightningModule, on: bool) -> None:
    """torch.compile remembers of a net that it could not compile it within a counter; and a counter
    knows torch's own operators alone.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Compile | UseKernels):
            (callback.on_validation_end if on else callback.on_validation_start)(trainer, module)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
