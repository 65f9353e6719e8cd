"""How a classifier of two variables divides the plane, while it learns."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure

from callbacks.tensorboard import add_figure, enlarge_text

GRID = 120


class DecisionBoundary(pl.Callback):
    """Adds ``images/boundary`` to TensorBoard, and ``boundary.png`` to the run, when training ends.

    One panel for each of ``count`` epochs, from the first epoch to the last, with the
    probability of class 1 as color and the boundary at one half as a line.

    Args:
        count: how many epochs.
    """

    reads = "points"

    def __init__(self, count: int = 4) -> None:
        self.count = count
        self._seen: list[tuple[int, Any]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        points, _ = trainer.datamodule.splits["train"]  # type: ignore[attr-defined]
        self._low, self._high = float(points.min()) - 1, float(points.max()) + 1
        side = torch.linspace(self._low, self._high, GRID)
        self._grid = torch.cartesian_prod(side, side).to(pl_module.device)  # (GRID * GRID, 2)
        last = (trainer.max_epochs or 1) - 1
        self._epochs = {round(last * i / max(self.count - 1, 1)) for i in range(self.count)}
        self._seen = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch in self._epochs:
            with torch.no_grad():
                probability = pl_module(self._grid).sigmoid().reshape(GRID, GRID).T
            self._seen.append((trainer.current_epoch + 1, probability.cpu().numpy()))

    @rank_zero_only
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        figure = enlarge_text(self._draw(trainer.datamodule))  # type: ignore[attr-defined]
        add_figure(trainer, figure, "images/boundary", "boundary.png")

    def _draw(self, data: Any) -> Figure:
        columns = 2 if len(self._seen) > 1 else 1
        rows = -(-len(self._seen) // columns)
        figure = Figure(figsize=(8, 3.6 * rows + 0.4), layout="constrained")
        points, labels = (tensor.cpu().numpy() for tensor in data.splits["train"])
        panels, image = [], None
        for index, (epoch, probability) in enumerate(self._seen):
            axes = figure.add_subplot(rows, columns, index + 1, xlabel="x1", ylabel="x2")
            axes.set_title(f"after epoch {epoch}")
            box = (self._low, self._high, self._low, self._high)
            image = axes.imshow(
                probability, extent=box, origin="lower", cmap="RdBu", vmin=0, vmax=1, alpha=0.8
            )
            if probability.min() < 0.5 < probability.max():
                axes.contour(probability, levels=[0.5], extent=box, colors="black")
            for label, marker in ((0, "x"), (1, "o")):
                of = points[labels == label]
                axes.plot(of[:, 0], of[:, 1], marker, color="black", markersize=4, alpha=0.7)
            panels.append(axes)
        if image is not None:
            figure.colorbar(image, ax=panels, label="probability of class 1 (o)")
        return figure
