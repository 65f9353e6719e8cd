"""A trace of torch's profiler, read from its Chrome JSON: the form that all its versions share."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from training.profiling.intervals import Interval

# What session.py marks: the recorded steps, and within them the waits for a batch.
STEP = "gpu_learning::step"
LOADING = "gpu_learning::loading"

_KERNELS = ("kernel", "gpu_memcpy", "gpu_memset")
_RUNTIME = ("cuda_runtime", "cuda_driver")


@dataclass(frozen=True)
class Event:
    """Something that took time; microseconds."""

    name: str
    start: float
    duration: float
    thread: Any = 0

    @property
    def end(self) -> float:
        return self.start + self.duration

    @property
    def span(self) -> Interval:
        return self.start, self.end


@dataclass(frozen=True)
class Recording:
    """What was recorded of some training steps, one step for each batch.

    Attributes:
        steps: how many.
        spans: when the host began and ended each, or several of them in one turn of the Trainer's
            loop; microseconds.
        operators: of torch on the host, nested ones included.
        loading: the waits of the host for a batch, and its way to the device.
        kernels: on the GPU, with copies and fills; none on a CPU.
        launches: calls of the CUDA runtime that start a kernel, a graph, a copy or a fill.
        waits: calls of the CUDA runtime that return when the GPU is done.
    """

    steps: int
    spans: list[Interval]
    operators: list[Event] = field(default_factory=list)
    loading: list[Event] = field(default_factory=list)
    kernels: list[Event] = field(default_factory=list)
    launches: list[Event] = field(default_factory=list)
    waits: list[Event] = field(default_factory=list)

    @property
    def start(self) -> float:
        return self.spans[0][0]

    @property
    def end(self) -> float:
        return self.spans[-1][1]


def read_trace(path: Path, steps: int) -> Recording:
    """Reads the part of a trace that lies between the marks of :mod:`training.profiling.session`.

    Args:
        path: of the Chrome JSON.
        steps: how many steps the marks enclose.

    Raises:
        ValueError: the trace has no marks.
    """
    content = json.loads(path.read_text())
    found: dict[str, list[Event]] = defaultdict(list)
    for entry in content["traceEvents"]:
        if entry.get("ph") == "X" and (kind := _kind(entry.get("cat", ""), entry["name"])):
            event = Event(entry["name"], entry["ts"], entry.get("dur", 0.0), entry.get("tid"))
            found[kind].append(event)
    if not found["steps"]:
        raise ValueError(f"{path} holds no {STEP}: it is not a trace of gpu-learning profile")
    spans = sorted(event.span for event in found.pop("steps"))
    start, end = spans[0][0], spans[-1][1]
    inside = {
        kind: sorted((e for e in events if start <= e.start < end), key=lambda e: e.start)
        for kind, events in found.items()
        if kind != "kernels"
    }
    # The GPU begins later than the host, and its last kernels end after the host's last step.
    kernels = sorted((e for e in found["kernels"] if e.start >= start), key=lambda e: e.start)
    return Recording(steps, spans, kernels=kernels, **inside)


def _kind(category: str, name: str) -> str | None:
    if category in _KERNELS:
        return "kernels"
    if category == "cpu_op":
        return "operators"
    if category == "user_annotation":
        return {STEP: "steps", LOADING: "loading"}.get(name)
    if category in _RUNTIME:
        if "Synchronize" in name or name == "cudaMemcpy":
            return "waits"
        if "Launch" in name or "Memcpy" in name or "Memset" in name:
            return "launches"
    return None


class Timed(NamedTuple):
    """An operator, its time outside of those it calls, and whether another one calls it."""

    event: Event
    alone: float
    nested: bool


def self_times(operators: Iterable[Event]) -> list[Timed]:
    """Operators in the order of their start, thread by thread."""
    threads: dict[Any, list[Event]] = defaultdict(list)
    for event in operators:
        threads[event.thread].append(event)
    times: list[Timed] = []
    for events in threads.values():
        open_: list[int] = []  # numbers within ``times`` of those that enclose the current one
        for event in sorted(events, key=lambda e: (e.start, -e.duration)):
            while open_ and times[open_[-1]].event.end < event.end:
                open_.pop()
            if open_:
                caller = times[open_[-1]]
                times[open_[-1]] = caller._replace(alone=caller.alone - event.duration)
            times.append(Timed(event, event.duration, bool(open_)))
            open_.append(len(times) - 1)
    return times
