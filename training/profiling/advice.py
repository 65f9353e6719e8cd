"""What limits a run, in one sentence, and the option that would help."""

from dataclasses import dataclass, field
from typing import Any

from training.profiling.division import Division, Measured

COMPILE = "--trainer.callbacks+=callbacks.Compile"
_WHAT = {
    "data": "the data: the step waits for batches in {share:.0%} of its time",
    "launches": "{starts}: {each} per step, in {share:.0%} of its time",
    "memory": "memory bandwidth: {work} that move more than they compute take {share:.0%} of a "
    "step",
    "arithmetic": "arithmetic: matrix products, convolutions and attention take {share:.0%} of a "
    "step",
    "host": "the host: Python between the {work} takes {share:.0%} of a step",
}


@dataclass(frozen=True)
class Setup:
    """What a run is set to, as far as an option changes how fast it is.

    Attributes:
        data: options of the data module and their values.
        precision: of the Trainer.
        devices: how many.
        captures: whether the strategy replays CUDA graphs.
        steps_per_turn: of that strategy.
        automatic: whether Lightning calls the optimizer, once per step.
        compilable: whether ``callbacks.Compile`` has a ``net`` to compile, and is not there yet.
        threads: of the CPU that the steps compute with.
        cores: of the CPU.
        sets_threads: whether the run has the key ``cpu_threads``.
    """

    data: dict[str, Any] = field(default_factory=dict)
    precision: str = "32-true"
    devices: int = 1
    captures: bool = False
    steps_per_turn: int = 1
    automatic: bool = True
    compilable: bool = False
    threads: int = 1
    cores: int = 1
    sets_threads: bool = False


def verdict(division: Division, measured: Measured, setup: Setup) -> str:
    """The largest part of a step, and what would make it smaller."""
    gpu = measured.device == "cuda"
    limit = division.limit
    # What is started in one go, a graph, is one launch of many kernels.
    count = max(division.launches, division.kernels or 0)
    said = _WHAT[limit].format(
        share=division.parts[limit],
        starts="kernel launches" if gpu else "the overhead of small operators",
        each=f"{count:,.0f} {'short kernels' if gpu else 'operators'}",
        work="kernels" if gpu else "operators",
    )
    if limit == "host" and (busiest := _busiest(measured)):
        said += f", most of it in {busiest}"
    return f"limited by {said}; {_remedy(limit, measured, setup)}"


def _busiest(measured: Measured) -> str | None:
    """The callback or hook that takes a fifth of the step or more."""
    hooks = {
        name: seconds
        for name, seconds in measured.hosts.items()
        if name.startswith("[Callback]") or ".on_" in name
    }
    name = max(hooks, key=lambda name: hooks[name], default=None)
    return name if name is not None and hooks[name] >= measured.step / 5 else None


def _remedy(limit: str, measured: Measured, setup: Setup) -> str:
    gpu = measured.device == "cuda"
    choose = {
        "data": _load,
        "launches": _start_less,
        "memory": _move_less,
        "arithmetic": _compute_less,
        "host": _call_less,
    }[limit]
    return choose(gpu, measured, setup)


def _load(gpu: bool, measured: Measured, setup: Setup) -> str:
    if setup.data.get("resident") is False:
        return "try --data.init_args.resident true, which keeps the data on the device"
    workers = setup.data.get("num_workers")
    if workers is not None and not setup.data.get("resident") and workers < setup.cores:
        more = min(setup.cores, max(2, 2 * workers))
        return f"try --data.init_args.num_workers {more}, which loads batches ahead of the steps"
    return "no option of its data module changes that: make a batch with less Python per row"


def _start_less(gpu: bool, measured: Measured, setup: Setup) -> str:
    if option := _at_once(gpu, setup):
        return option
    if setup.compilable:
        return f"try {COMPILE}, which joins small operators"
    return "no option of this run changes that: compute with fewer and larger operators"


def _call_less(gpu: bool, measured: Measured, setup: Setup) -> str:
    return _at_once(gpu, setup) or (
        "no option of this run changes that: take fewer steps, each with more to compute"
    )


def _at_once(gpu: bool, setup: Setup) -> str | None:
    """More work for each start and for each turn of the Trainer's loop."""
    if gpu and setup.automatic and not setup.captures:
        name = "cuda_graph" if setup.devices == 1 else "cuda_graph_ddp"
        return f"try --trainer.strategy {name}, which starts the kernels of a step at once"
    if gpu and setup.captures and setup.data.get("resident") and setup.steps_per_turn == 1:
        return (
            "try --trainer.strategy.init_args.steps_per_turn 10, which takes several steps per "
            "turn of the Trainer's loop"
        )
    if rows := setup.data.get("batch_size"):
        return f"try --data.init_args.batch_size {4 * rows}, which does more per operator"
    return None


def _move_less(gpu: bool, measured: Measured, setup: Setup) -> str:
    if gpu and setup.precision.startswith("32"):
        return "try --trainer.precision bf16-mixed, which halves the bytes"
    rows = setup.data.get("batch_size")
    if measured.low_intensity and rows:
        return (
            f"try --data.init_args.batch_size {4 * rows}, because weights are read once per batch"
        )
    if setup.compilable:
        return f"try {COMPILE}, which joins operators, so that results need not be written between"
    return "no option of this run changes that: make fewer and smaller intermediate results"


def _compute_less(gpu: bool, measured: Measured, setup: Setup) -> str:
    if gpu and setup.precision.startswith("32"):
        return "try --trainer.precision bf16-mixed, for which a GPU has faster matrix units"
    if gpu:
        return "what is left is a smaller model, or more GPUs with --trainer.devices"
    if setup.sets_threads and setup.threads < setup.cores:
        return f"try --cpu_threads.threads {setup.cores}, if no other program needs the cores"
    return "what is left is a smaller model, or a GPU"
