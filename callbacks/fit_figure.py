"""The function that a regressor of one variable has learned, as a figure."""

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor

from callbacks.tensorboard import add_figure, enlarge_text


def draw_fit(x: Tensor, y: Tensor, curves: dict[str, tuple[Tensor, Tensor]]) -> Figure:
    """Draws points and, by name, the curves (x, y) of nets; all tensors (N, 1)."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="x", ylabel="y")
    axes.grid(alpha=0.3)
    for (name, (at, value)), style in zip(curves.items(), ("-", "--", ":"), strict=False):
        axes.plot(at.flatten().numpy(), value.flatten().numpy(), style, label=name, linewidth=2)
    axes.plot(
        x.flatten().numpy(),
        y.flatten().numpy(),
        "o",
        color="black",
        markersize=4,
        label="training points",
    )
    axes.legend()
    return figure


class FitFigure(pl.Callback):
    """Adds ``images/fit`` to TensorBoard, and ``fit.png`` to the run, when training ends.

    For modules with one input and one output. The figure extends half the width of the data
    beyond it on both sides.
    """

    reads = "numbers"

    @rank_zero_only
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        x, y = trainer.datamodule.splits["train"]  # type: ignore[attr-defined]
        margin = float(x.max() - x.min()) / 2
        wide = torch.linspace(float(x.min()) - margin, float(x.max()) + margin, 201)
        wide = wide.unsqueeze(1).to(pl_module.device)
        with torch.no_grad():
            predicted = pl_module(wide)
        curve = (wide.cpu(), predicted.cpu())
        figure = enlarge_text(draw_fit(x.cpu(), y.cpu(), {"net": curve}))
        add_figure(trainer, figure, "images/fit", "fit.png")
