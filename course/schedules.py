"""Step 14: five ways to lead a learning rate."""

from typing import Any

from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.tensorboard import curve as place
from course.runner import Run

SCHEDULERS: dict[str, dict[str, Any]] = {
    "none": {},
    "StepLR": {"step_size": 2, "gamma": 0.5},
    "ReduceLROnPlateau": {"factor": 0.5, "patience": 0, "threshold": 0.1},
    "CosineAnnealing": {},
    "OneCycle": {},
    "WarmupCosine": {"warmup_steps": 40},
}
GOAL = 0.15
Curve = list[tuple[int, float]]


def schedules(run: Run) -> dict[str, Any]:
    """The same training with each scheduler; the curves are read back from TensorBoard's files."""
    rates, losses = {}, {}
    for name, arguments in SCHEDULERS.items():
        options = []
        if name != "none":
            options = [f"--trainer.callbacks+=callbacks.{name}"]
            options += [f"--trainer.callbacks.init_args.{k}={v}" for k, v in arguments.items()]
        run.fit("lr_schedules", *options, tag=name)
        rates[name] = read(run, name, "lr")
        losses[name] = read(run, name, "val/loss")
    print(f"\n{'scheduler':<20} epochs until val/loss <= {GOAL}   last val/loss")
    for name, curve in losses.items():
        reached = [epoch for epoch, (_, loss) in enumerate(curve, 1) if loss <= GOAL]
        print(f"{name:<20} {reached[0] if reached else 'never':>27}   {curve[-1][1]:.4f}")
    run.keep(draw(rates, losses), "schedules")
    halves = list(dict.fromkeys(round(rate, 6) for _, rate in rates["StepLR"]))
    return {
        "StepLR(2, 0.5) from 0.1": halves,
        "schedulers with a curve": sum(
            len({rate for _, rate in curve}) > 1 for curve in rates.values()
        ),
        "best last val/loss": min(curve[-1][1] for curve in losses.values()),
    }


def read(run: Run, tag: str, scalar: str) -> Curve:
    """A metric of a run as (step, value)."""
    folder, name = place(scalar)
    events = EventAccumulator(str(run.folder / tag / folder), size_guidance={"scalars": 0})
    return [(event.step, event.value) for event in events.Reload().Scalars(name)]


def draw(rates: dict[str, Curve], losses: dict[str, Curve]) -> Figure:
    figure = Figure(figsize=(8, 8), layout="constrained")
    top = figure.add_subplot(2, 1, 1, xlabel="optimizer step", ylabel="learning rate")
    bottom = figure.add_subplot(2, 1, 2, xlabel="epoch", ylabel="validation loss", yscale="log")
    for name in rates:
        top.plot(*zip(*rates[name], strict=True), label=name, linewidth=2)
        values = [loss for _, loss in losses[name]]
        bottom.plot(range(1, len(values) + 1), values, "o-", label=name)
    bottom.axhline(GOAL, color="black", linestyle=":", label=f"the goal, {GOAL}")
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
    figure.legend(*bottom.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure
