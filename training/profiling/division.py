"""The time of a training step, divided into the five parts that can limit it."""

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from training.profiling.intervals import Interval, length, union, within, without
from training.profiling.trace import Event, Recording, self_times

LIMITS = ("data", "launches", "memory", "arithmetic", "host")

# Microseconds. Shorter than this, an operator or a kernel costs as much to start as to run.
TINY_OPERATOR = 20.0
TINY_KERNEL = 5.0
# Python between two operators that takes no longer than this belongs to starting them.
BETWEEN_OPERATORS = 50.0
# Operations per byte below which matrix products wait for memory: an eighth to a quarter of what
# current cards (100 to 400 in 16 bits, 15 to 25 in float32 outside of matrix units) and CPUs need.
LOW_INTENSITY = {"cuda": 25.0, "cpu": 2.0}

_PRODUCT_OPERATORS = re.compile(r"mm$|mm_$|conv|scaled_dot_product|linear|matmul|lstm|gru")
_PRODUCT_KERNELS = re.compile(
    r"gemm|gemv|cutlass|xmma|nvjet|conv(?!ert)|wgrad|dgrad|fprop|winograd|flash|fmha|attention"
    r"|triton_tem",
    re.IGNORECASE,
)
_OTHER_KERNELS = re.compile(r"elementwise|reduce_kernel|triton_(poi|red|per)|nchwToNhwc|nhwcToNchw")


@dataclass(frozen=True)
class Measured:
    """What was measured without the profiler, and counted.

    Attributes:
        device: ``cuda`` or ``cpu``.
        step: seconds per step.
        loading: of these, the host's wait for a batch and its way to the device.
        flops: floating-point operations per step; None where they could not be counted.
        bytes: read and written by operators per step, no cache taken into account; likewise.
        product_bytes: of these, by matrix products, convolutions and attention.
        peak: operations per second of the device, None where not known.
        hosts: seconds per step in what the Trainer calls, by name.
    """

    device: str
    step: float
    loading: float
    flops: float | None = None
    bytes: float | None = None
    product_bytes: float | None = None
    peak: float | None = None
    hosts: dict[str, float] = field(default_factory=dict)

    @property
    def low_intensity(self) -> bool:
        """Whether the matrix products read more than they compute."""
        if not self.product_bytes or self.flops is None:
            return False
        return self.flops / self.product_bytes < LOW_INTENSITY[self.device]


@dataclass(frozen=True)
class Costly:
    """A kernel or an operator: its share of a step, its calls per step, microseconds per call."""

    name: str
    share: float
    calls: float
    each: float


@dataclass(frozen=True)
class Division:
    """A step, divided.

    Attributes:
        parts: share of each of ``LIMITS``; together 1.
        busy: share of the step in which the GPU has work; None on a CPU.
        launches: of kernels and graphs by the host per step; on a CPU operators per step.
        kernels: per step; None on a CPU.
        host_waits: seconds per step in which the host waits for the GPU; None on a CPU.
        slowdown: of the recorded steps by the profiler, as a factor.
        costly: the most expensive kernels, or operators on a CPU.
    """

    parts: dict[str, float]
    busy: float | None
    launches: float
    kernels: float | None
    host_waits: float | None
    slowdown: float
    costly: list[Costly]

    @property
    def limit(self) -> str:
        """The largest part."""
        return max(LIMITS, key=lambda name: self.parts[name])


def divide(recording: Recording, measured: Measured, top: int = 10) -> Division:
    """Divides the time of a step by what was recorded of it.

    The profiler slows the host more than the GPU, so the wait for data and the length of a step are
    those measured without it; the rest is divided in the proportions that were recorded.
    """
    slowdown = (recording.end - recording.start) / 1e6 / recording.steps / measured.step
    if measured.device == "cpu":
        return _on_cpu(recording, measured, slowdown, top)
    kernels = [(event.name, event.duration) for event in recording.kernels]
    steps = recording.steps
    return Division(
        _on_gpu(recording, measured),
        _busy(recording, measured),
        len(_starts(recording.launches)) / steps,
        len(kernels) / steps,
        length(union(event.span for event in recording.waits)) / 1e6 / steps,
        slowdown,
        _costly(kernels, steps, measured.step * 1e6, top),
    )


def _starts(launches: list[Event]) -> list[Event]:
    return [event for event in launches if "Launch" in event.name]


def _costly(times: list[tuple[str, float]], steps: int, step: float, top: int) -> list[Costly]:
    totals: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for name, duration in times:
        totals[name] += duration
        calls[name] += 1
    return [
        Costly(name, totals[name] / steps / step, calls[name] / steps, totals[name] / calls[name])
        for name in sorted(totals, key=lambda name: -totals[name])[:top]
    ]


def _on_cpu(recording: Recording, measured: Measured, slowdown: float, top: int) -> Division:
    """Operators and the Python before each, in the median over the steps that have the same ones.

    A step repeats what the one before it did, so a median leaves out what the operating system
    gave to other programs meanwhile.
    """
    steps = _alike([_Step.of(recording, span) for span in recording.spans])
    alone = [median(times) for times in zip(*(step.alone for step in steps), strict=True)]
    gaps = [median(times) for times in zip(*(step.gaps for step in steps), strict=True)]
    spent: dict[str, float] = dict.fromkeys(LIMITS[1:], 0.0)
    for name, loads, duration in zip(steps[0].names, steps[0].loads, alone, strict=True):
        if not loads:
            spent[_operator_limit(name, duration, measured)] += duration
    for gap in gaps:
        spent["launches" if gap <= BETWEEN_OPERATORS else "host"] += gap
    data = min(1.0, measured.loading / measured.step)
    whole = (sum(spent.values()) or 1.0) / (1 - data) if data < 1 else measured.step * 1e6
    parts = {"data": data, **_scaled(spent, 1 - data)}
    costly = _costly(list(zip(steps[0].names, alone, strict=True)), 1, whole, top)
    return Division(parts, None, steps[0].outermost, None, None, slowdown, costly)


def _operator_limit(name: str, duration: float, measured: Measured) -> str:
    if duration < TINY_OPERATOR or "autograd::" in name:
        return "launches"
    product = _PRODUCT_OPERATORS.search(name) and not measured.low_intensity
    return "arithmetic" if product else "memory"


class _Step(NamedTuple):
    """Operators of one step: names, time alone, whether they are part of loading; gaps before."""

    names: tuple[str, ...]
    alone: list[float]
    loads: list[bool]
    gaps: list[float]
    outermost: int

    @classmethod
    def of(cls, recording: Recording, span: Interval) -> "_Step":
        times = self_times(_inside(recording.operators, span))
        loading = union(event.span for event in _inside(recording.loading, span))
        operators = union(timed.event.span for timed in times if not timed.nested)
        # A gap for each outermost operator, and one for the rest of the step.
        edges = [span[0], *(end for _, end in operators)]
        starts = [*(start for start, _ in operators), span[1]]
        between = list(zip(edges, starts, strict=True))
        return cls(
            tuple(timed.event.name for timed in times),
            [timed.alone for timed in times],
            [bool(within([timed.event.span], loading)) for timed in times],
            [length(without([gap] if gap[0] < gap[1] else [], loading)) for gap in between],
            sum(not timed.nested for timed in times),
        )


def _inside(events: list[Event], span: Interval) -> list[Event]:
    """Of events in the order of their start those that begin within ``span``."""
    first = bisect_left(events, span[0], key=lambda event: event.start)
    return events[first : bisect_left(events, span[1], key=lambda event: event.start)]


def _alike(steps: list[_Step]) -> list[_Step]:
    """The steps with the operators, and as many gaps, that most have."""
    kind, _ = Counter((step.names, len(step.gaps)) for step in steps).most_common(1)[0]
    return [step for step in steps if (step.names, len(step.gaps)) == kind]


def _scaled(spent: dict[str, float], total: float) -> dict[str, float]:
    whole = sum(spent.values())
    return {name: total * time / whole if whole else 0.0 for name, time in spent.items()}


def _busy(recording: Recording, measured: Measured) -> float:
    busy = length(union(event.span for event in recording.kernels)) / recording.steps
    return min(1.0, busy / (measured.step * 1e6))


def _on_gpu(recording: Recording, measured: Measured) -> dict[str, float]:
    busy = _busy(recording, measured)
    working: dict[str, float] = dict.fromkeys(LIMITS, 0.0)
    for kernel in recording.kernels:
        working[_kernel_limit(kernel, measured)] += kernel.duration
    parts = _scaled(working, busy)
    waiting = _scaled(_idle(recording), 1 - busy)
    return {name: parts[name] + waiting.get(name, 0.0) for name in LIMITS}


def _kernel_limit(kernel: Event, measured: Measured) -> str:
    if "Memcpy HtoD" in kernel.name:
        return "data"
    if kernel.duration < TINY_KERNEL:
        return "launches"
    product = _PRODUCT_KERNELS.search(kernel.name) and not _OTHER_KERNELS.search(kernel.name)
    return "arithmetic" if product and not measured.low_intensity else "memory"


def _idle(recording: Recording) -> dict[str, float]:
    """Why the GPU had nothing to do, by what the host did meanwhile."""
    working = union(event.span for event in recording.kernels)
    end = max(recording.end, working[-1][1] if working else recording.end)
    idle = without([(recording.start, end)], working)
    loading = union(event.span for event in recording.loading)
    data = within(idle, loading)
    idle = without(idle, loading)
    # Between two kernels of one graph, or of a full queue, no host is involved.
    starting = [*recording.operators, *recording.launches, *recording.waits]
    starts = union((event.span for event in starting), BETWEEN_OPERATORS)
    short = [(start, end) for start, end in idle if end - start <= TINY_KERNEL]
    launches = within(idle, union([*starts, *short]))
    return {
        "data": length(data),
        "launches": length(launches),
        "host": length(without(idle, launches)),
    }
