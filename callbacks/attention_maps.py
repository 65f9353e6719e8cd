"""Who looks at whom in a language model."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor

from inference.tokenizer import Tokenizer


def attention_weights(net: Any, ids: Tensor) -> list[Tensor]:
    """Weights (heads, T, T) of each block of a ``GPT`` for tokens (1, T); rows sum to 1."""
    found: list[Tensor] = []

    def keep(attention: Any, inputs: tuple[Tensor, ...]) -> None:
        found.append(attention.weights(inputs[0])[0].float().cpu())

    hooks = [block.attn.register_forward_pre_hook(keep) for block in net.blocks]
    try:
        with torch.no_grad():
            net(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def attention_figure(weights: list[Tensor], labels: list[str]) -> Figure:
    """Draws weights of each block (a row) and of up to four heads (columns)."""
    columns = min(4, len(weights[0]))
    figure = Figure(figsize=(4.2 * columns + 0.6, 4.2 * len(weights)), layout="constrained")
    ticks = list(range(len(labels)))
    for row, heads in enumerate(weights):
        for column in range(columns):
            axes = figure.add_subplot(len(weights), columns, row * columns + column + 1)
            # A root brings out the weak ones.
            axes.imshow(heads[column].sqrt().numpy(), cmap="Blues", vmin=0, vmax=1)
            axes.set_xticks(ticks, labels, fontsize=9)
            axes.set_yticks(ticks, labels, fontsize=9)
            axes.set_xlabel("looked at")
            axes.set_ylabel("looking")
            axes.set_title(f"block {row + 1}, head {column + 1}", fontsize=10)
    return figure


class AttentionMaps(pl.Callback):
    """Adds ``attention`` to TensorBoard after every validation and, as PNG, to the run at the end.

    Args:
        text: what the model reads; at most 32 tokens of it are drawn.
    """

    reads = "tokens"

    def __init__(self, text: str = "the cat sat on the mat.") -> None:
        self.text = text

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._draw(trainer, pl_module, save=False)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._draw(trainer, pl_module, save=True)

    def _draw(self, trainer: pl.Trainer, pl_module: pl.LightningModule, save: bool) -> None:
        net: Any = pl_module.net
        tokenizer = Tokenizer(trainer.datamodule.tokenizer.to_json())  # type: ignore[attr-defined]
        ids = tokenizer.encode(self.text)[: min(32, net.config.context)]
        labels = [tokenizer.decode([number]).replace(" ", "␣") for number in ids]
        device = next(net.parameters()).device
        # Hooks would make a compiled net compile again.
        forward = getattr(net, "_compiled_call_impl", None)
        net._compiled_call_impl = None
        try:
            # In all processes: weights that are shared out (FSDP) are put together for a forward.
            weights = attention_weights(net, torch.tensor([ids], device=device))
        finally:
            net._compiled_call_impl = forward
        if not trainer.is_global_zero:
            return
        figure = attention_figure(weights, labels)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure("attention", figure, trainer.global_step)
                if save and not trainer.fast_dev_run:
                    figure.savefig(Path(logger.log_dir) / "attention.png", dpi=100)
