"""A profile as a table, and as what JSON can hold."""

from dataclasses import dataclass
from typing import Any

from training.profiling.division import LIMITS, Division, Measured

_SHORT = 60  # characters of a kernel's name, which holds all its template's arguments


@dataclass(frozen=True)
class Profile:
    """What ``gpu-learning profile`` prints.

    Attributes:
        experiment: the experiment's name.
        steps: recorded.
        device_name: of the GPU, or ``CPU``.
        threads: of the CPU.
        trace: path of the Chrome JSON.
        left_out: callbacks of the run that had no part in it.
    """

    experiment: str
    steps: int
    device_name: str
    threads: int
    measured: Measured
    division: Division
    verdict: str
    trace: str
    left_out: list[str]

    @property
    def mfu(self) -> float | None:
        """Share of the device's operations per second; None where either is not known."""
        measured = self.measured
        if measured.flops is None or measured.peak is None:
            return None
        return measured.flops / measured.step / measured.peak

    def as_json(self) -> dict[str, Any]:
        """All figures, times in seconds and microseconds as their names say."""
        measured, division = self.measured, self.division
        return {
            "experiment": self.experiment,
            "steps": self.steps,
            "device": self.device_name,
            "threads": self.threads,
            "step_seconds": measured.step,
            "loading_seconds": measured.loading,
            "parts": division.parts,
            "gpu_busy": division.busy,
            "gpu_waits_seconds": self._gpu_waits,
            "host_waits_seconds": division.host_waits,
            "launches_per_step": division.launches,
            "kernels_per_step": division.kernels,
            "flops_per_step": measured.flops,
            "bytes_per_step": measured.bytes,
            "peak_flops_per_second": measured.peak,
            "mfu": self.mfu,
            "profiler_slowdown": division.slowdown,
            "costly": [
                {"name": c.name, "share": c.share, "calls_per_step": c.calls, "us_per_call": c.each}
                for c in division.costly
            ],
            "limit": division.limit,
            "verdict": self.verdict,
            "trace": self.trace,
            "callbacks_left_out": self.left_out,
            "host_seconds": dict(sorted(measured.hosts.items(), key=lambda item: -item[1])),
        }

    @property
    def _gpu_waits(self) -> float | None:
        busy = self.division.busy
        return None if busy is None else (1 - busy) * self.measured.step

    def table(self) -> str:
        """The figures, the most expensive kernels, the verdict, and where the trace is."""
        lines = [f"{name:<26}{value}" for name, value in self._rows()]
        what = "operator" if self.division.busy is None else "kernel"
        lines += ["", f"{what:<{_SHORT}}  share  per step  us each"]
        for costly in self.division.costly:
            name = costly.name.removeprefix("void ")
            name = name if len(name) <= _SHORT else name[: _SHORT - 3] + "..."
            lines.append(
                f"{name:<{_SHORT}}  {costly.share:5.1%}  {costly.calls:8,.1f}  {costly.each:7,.1f}"
            )
        lines += ["", self.verdict, "", f"trace: {self.trace} (open it at https://ui.perfetto.dev)"]
        if self.left_out:
            lines.append(f"callbacks left out: {', '.join(self.left_out)}")
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, str]]:
        measured, division = self.measured, self.division
        gpu = division.busy is not None
        threads = f"{self.threads} CPU thread{'s' if self.threads > 1 else ''}"
        device = f"{self.device_name}, {threads}" if gpu else threads
        rows = [
            ("experiment", f"{self.experiment}, {self.steps} steps on {device}"),
            ("step", f"{_time(measured.step)}; {division.slowdown:.1f} times that when recorded"),
            *((f"  {name}", f"{division.parts[name]:4.0%}") for name in LIMITS),
            ("in the data loader", f"{_time(measured.loading)} per step"),
        ]
        if gpu:
            assert division.busy is not None
            assert division.host_waits is not None
            rows += [
                ("GPU busy", f"{division.busy:.0%}"),
                ("GPU waits", f"{_time(self._gpu_waits or 0.0)} per step"),
                ("host waits for the GPU", f"{_time(division.host_waits)} per step"),
                ("launches", f"{division.launches:,.0f} per step"),
                ("kernels", f"{division.kernels:,.0f} per step, copies and fills included"),
            ]
        else:
            rows.append(("operators", f"{division.launches:,.0f} per step"))
        rows += [
            ("FLOPs", _counted(measured.flops, "FLOP")),
            ("bytes", _counted(measured.bytes, "B")),
            ("model FLOPs utilization", self._utilization()),
        ]
        return rows

    def _utilization(self) -> str:
        measured = self.measured
        if measured.flops is None:
            return "not known, because the FLOPs are not"
        rate = f"{_scaled(measured.flops / measured.step)}FLOP/s"
        if self.mfu is None:
            return f"not known, because the peak of this device is not; {rate}"
        return f"{self.mfu:.1%} of {_scaled(measured.peak or 0.0)}FLOP/s; {rate}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def _counted(value: float | None, unit: str) -> str:
    if value is None:
        return "not counted: several steps are one graph"
    return f"{_scaled(value)}{unit} per step"


def _scaled(value: float) -> str:
    for limit, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {prefix}"
    return f"{value:.3g} "
