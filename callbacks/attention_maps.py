"""Attention from query to key in a language model, as images."""

import warnings
from typing import Any

import lightning.pytorch as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from callbacks.tensorboard import add_figure
from callbacks.vocabulary import known_texts


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
            axes.set_xlabel("key: attended to")
            axes.set_ylabel("query: attends")
            axes.set_title(f"block {row + 1}, head {column + 1}", fontsize=10)
    return figure


class AttentionMaps(pl.Callback):
    """Adds ``images/attention`` to TensorBoard after every validation; the run gets a PNG.

    Args:
        text: what the model reads, the beginning of the validation text where it is empty; at most
            32 tokens of it are drawn. A text that the vocabulary has no tokens for is replaced by
            that, with a warning.
    """

    reads = "tokens"

    def __init__(self, text: str = "") -> None:
        self.text = text
        self._drawn: list[int] | None = None
        self._step = -1  # of the last figure
        self._labels: list[str] = []

    def _choose(self, trainer: pl.Trainer, context: int) -> list[int]:
        texts = [self.text] if self.text else []
        tokenizer, known = known_texts(trainer, self, "text", texts)
        drawn = tokenizer.encode(known[0])[: min(32, context)] if known else []
        self._labels = [_label(tokenizer.decode([number])) for number in drawn]
        return drawn

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._draw(trainer, pl_module, save=False)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._draw(trainer, pl_module, save=True)

    def _draw(self, trainer: pl.Trainer, pl_module: pl.LightningModule, save: bool) -> None:
        net: Any = pl_module.net
        if self._drawn is None:
            self._drawn = self._choose(trainer, net.config.context)
        if not self._drawn:
            return
        device = next(net.parameters()).device
        # Hooks would make a compiled net compile again.
        forward = getattr(net, "_compiled_call_impl", None)
        net._compiled_call_impl = None
        try:
            # In all processes: sharded weights (FSDP) are gathered for a forward.
            weights = attention_weights(net, torch.tensor([self._drawn], device=device))
        finally:
            net._compiled_call_impl = forward
        if not trainer.is_global_zero:
            return
        figure = attention_figure(weights, self._labels)
        with warnings.catch_warnings():
            # matplotlib's own font has no letters of many scripts, and draws boxes for them.
            warnings.filterwarnings("ignore", "Glyph")
            file = "attention.png" if save and not trainer.fast_dev_run else ""
            tag = "images/attention" if self._step != trainer.global_step else ""
            add_figure(trainer, figure, tag, file)
        self._step = trainer.global_step


def _label(token: str) -> str:
    """A token for matplotlib: blanks and line ends are visible, dollars are no formula."""
    return token.replace(" ", "␣").replace("\n", "↵").replace("$", r"\$")
