"""Step 13: what dropout does, asked of ten seeds."""

from statistics import mean, stdev
from typing import Any

import torch
from matplotlib.figure import Figure
from torchmetrics.functional.classification import binary_accuracy

from course.runner import Run
from lightning_modules.evaluate import evaluate
from lightning_modules.nets import MLP
from training.cli import KEYED_CALLBACKS

TASKS = {
    "random": "20 samples, random labels",
    "rule": "200 samples, a rule",
    "noisy": "200 samples, 20 % wrong labels",
}
SEEDS = 10
Scores = dict[tuple[str, float], list[tuple[float, float]]]


def study(run: Run) -> dict[str, Any]:
    """Train and test accuracy on three tasks, with and without dropout of one half."""
    scores: Scores = {}
    for task in TASKS:
        for dropout in (0.0, 0.5):
            scores[task, dropout] = [accuracies(run, task, dropout, s) for s in range(SEEDS)]
    print(f"\n{'task':<32} {'dropout':>7}  {'train':>14}  {'test':>14}  {'gap':>14}")
    for (task, dropout), pairs in scores.items():
        columns = [*zip(*pairs, strict=True), [train - test for train, test in pairs]]
        cells = "  ".join(f"{mean(c):>6.3f} ± {stdev(c):.3f}" for c in columns)
        print(f"{TASKS[task]:<32} {dropout:>7}  {cells}")
    run.keep(draw(scores), "dropout")
    values: dict[str, Any] = remedies(run, scores) | modes()
    for task in TASKS:
        # Paired: both nets of a seed have the same data and the same initial weights.
        gains = [
            with_[1] - without[1]
            for with_, without in zip(scores[task, 0.5], scores[task, 0.0], strict=True)
        ]
        values[f"{task}: test gain"] = mean(gains)
        values[f"{task}: gain / standard error"] = mean(gains) / (stdev(gains) / len(gains) ** 0.5)
    return values


def remedies(run: Run, scores: Scores) -> dict[str, float]:
    """Test accuracy gained by each of the course's three rules where labels are wrong."""
    plain = mean(test for _, test in scores["noisy", 0.0])
    tests = {
        "dropout": [test for _, test in scores["noisy", 0.5]],
        "ten times the data": [
            accuracies(run, "noisy", 0.0, s, "--data.init_args.samples=2000")[1]
            for s in range(SEEDS)
        ],
        "a net of 49 parameters": [
            accuracies(run, "noisy", 0.0, s, "--model.init_args.hidden=[4]")[1]
            for s in range(SEEDS)
        ],
    }
    print(f"\n{TASKS['noisy']}, 10-128-128-1 without dropout: test accuracy {plain:.3f}")
    for name, values in tests.items():
        print(f"  {name:<24} {mean(values):.3f} ± {stdev(values):.3f}")
    return {f"noisy: gain of {name}": mean(values) - plain for name, values in tests.items()}


def modes() -> dict[str, bool]:
    """Dropout draws in training mode alone."""
    net, points = MLP([10, 128, 128, 1], dropout=0.5), torch.randn(8, 10)
    equal = {}
    with torch.no_grad():
        for mode in (True, False):
            net.train(mode)
            equal[mode] = torch.equal(net(points), net(points))
    return {
        "two passes differ in training mode": not equal[True],
        "and in eval mode": not equal[False],
    }


def accuracies(
    run: Run, task: str, dropout: float, seed: int, *options: str
) -> tuple[float, float]:
    """Accuracy on the training and on the test points after one training."""
    cli = run.fit(
        "dropout",
        f"--seed_everything={seed}",
        f"--data.init_args.seed={seed}",
        f"--data.init_args.task={task}",
        f"--model.init_args.dropout={dropout}",
        *options,
        # Sixty runs would only hide each other in TensorBoard.
        "--trainer.logger=false",
        "--trainer.callbacks=null",
        *(f"--{key}=null" for key in KEYED_CALLBACKS),
        "--trainer.enable_checkpointing=false",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
    )
    train, test = (
        binary_accuracy(evaluate(cli.model, inputs), labels.int().cpu()).item()
        for inputs, labels in (cli.datamodule.splits[name] for name in ("train", "test"))
    )
    return train, test


def draw(scores: Scores) -> Figure:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(ylabel=f"test accuracy, {SEEDS} seeds", ylim=(0.4, 1.0))
    for dropout, color, shift in ((0.0, "tab:gray", -0.12), (0.5, "tab:blue", 0.12)):
        for position, task in enumerate(TASKS):
            tests = [test for _, test in scores[task, dropout]]
            at = position + shift
            label = f"dropout {dropout}" if position == 0 else None
            axes.plot([at] * len(tests), tests, "o", color=color, alpha=0.5, label=label)
            axes.hlines(mean(tests), at - 0.1, at + 0.1, color=color, linewidth=3)
    axes.set_xticks(range(len(TASKS)), list(TASKS.values()))
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower right")
    return figure
