"""Step 8: what an activation is for."""

from typing import Any

import torch
from matplotlib.figure import Figure

from callbacks.fit_figure import draw_fit
from course.runner import Run
from lightning_modules.evaluate import evaluate
from training.cli import TrainCLI

FUNCTIONS = {
    "ReLU": (torch.relu, "hidden layers, unless there is a reason for another"),
    "sigmoid": (torch.sigmoid, "the probability of a yes: the output of a binary classifier"),
    "tanh": (torch.tanh, "hidden values of both signs, as in recurrent nets"),
}


def activations(run: Run) -> dict[str, Any]:
    """A curve with the activation and without."""
    points, wide = torch.tensor([-2.0, -1, 0, 1, 2, 3]), torch.linspace(-50, 50, 101)
    values: dict[str, Any] = {}
    print(f"{'':8} {'x from -50 to 50':<18} used for")
    for name, (function, use) in FUNCTIONS.items():
        values[name] = function(points).tolist()
        lowest, highest = function(wide).aminmax()
        values[f"range of {name}"] = [lowest.item(), highest.item()]
        print(f"{name:<8} {f'{lowest:.4g} to {highest:.4g}':<18} {use}")
    for curve, shown in (("abs", "absolute value"), ("sine", "sine")):
        data = f"--data.init_args.curve={curve}"
        bend = run.fit("curve_regressor", data, tag=f"{curve}-relu")
        flat = run.fit(
            "curve_regressor", data, "--model.init_args.activation=none", tag=f"{curve}-none"
        )
        errors = [_test_error(cli) for cli in (bend, flat)]
        print(f"{shown}: squared error {errors[0]:.2e} with ReLU, {errors[1]:.2e} without")
        values[f"error without / with, {shown}"] = errors[1] / errors[0]
        run.keep(_picture({"with ReLU": bend, "without activation": flat}), f"{curve}")
        values["parameters with"] = _count(bend)
        values["parameters without"] = _count(flat)
    return values


def _count(cli: TrainCLI) -> int:
    return sum(parameter.numel() for parameter in cli.model.parameters())


def _test_error(cli: TrainCLI) -> float:
    inputs, targets = cli.datamodule.splits["test"]
    return torch.nn.functional.mse_loss(evaluate(cli.model, inputs), targets.cpu()).item()


def _picture(runs: dict[str, TrainCLI]) -> Figure:
    data = next(iter(runs.values())).datamodule
    x, y = (tensor.cpu() for tensor in data.splits["train"])
    reach = max(float(x.abs().max()), float(data.splits["test"][0].max()))
    wide = torch.linspace(-float(x.abs().max()), reach, 201).unsqueeze(1)
    return draw_fit(x, y, {name: (wide, evaluate(cli.model, wide)) for name, cli in runs.items()})
