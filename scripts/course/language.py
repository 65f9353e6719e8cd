"""Steps 19 to 21: word embeddings, attention and the transformer block."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from lightning_modules.evaluate import evaluate
from lightning_modules.nets import SelfAttention, Transformer
from scripts.course.runner import Run

BLOCKS = (1, 2, 4, 8, 12)


def words(run: Run) -> dict[str, Any]:
    """Embeddings that know which words belong together."""
    cli = run.fit("word_similarity")
    data = cli.datamodule
    pairs, related = (tensor.cpu() for tensor in data.splits["test"])
    probability = evaluate(cli.model, pairs).sigmoid()
    every_pair = torch.cartesian_prod(*[torch.arange(len(data.words))] * 2)
    table = evaluate(cli.model, every_pair).sigmoid().reshape(len(data.words), -1)
    for (first, second), value in zip(pairs.tolist(), probability.tolist(), strict=True):
        print(f"{data.words[first]:>6} and {data.words[second]:<6} {value:.4f}")
    run.keep(heat_map(table, data.words, "word", "word", "related"), "words")
    return {
        "related, the lowest": probability[related == 1].min().item(),
        "unrelated, the highest": probability[related == 0].max().item(),
        "projector files": len(list((run.folder / "run").rglob("tensors.tsv"))),
    }


def attention(run: Run) -> dict[str, Any]:
    """One head over the words of a sentence; untrained, so the picture is of the mechanism."""
    torch.manual_seed(0)
    sentence = ["the", "cat", "sat", "on", "the", "mat"]
    embedded = torch.nn.Embedding(len(sentence), 8)(torch.tensor([0, 1, 2, 3, 0, 4]))
    x = embedded.unsqueeze(0)  # (1, T, 8)
    net = SelfAttention(8)
    with torch.no_grad():
        weights = net.weights(x)  # (1, T, T)
        fast = F.scaled_dot_product_attention(net.query(x), net.key(x), net.value(x))
        difference = (net(x) - fast).abs().max().item()
    run.keep(
        heat_map(weights[0], sentence, "key: looked at", "query: looks", "weight"), "attention"
    )
    return {
        "row sums, furthest from 1": (weights.sum(dim=-1) - 1).abs().max().item(),
        "difference from torch's attention": difference,
    }


def block(run: Run) -> dict[str, Any]:
    """Parameters by number of blocks, and a forward pass."""
    nets = [Transformer(blocks=blocks) for blocks in BLOCKS]
    counts = [sum(parameter.numel() for parameter in net.parameters()) for net in nets]
    for blocks, count in zip(BLOCKS, counts, strict=True):
        print(f"{blocks:>2} blocks: {count:>5,} parameters")
    return {
        "parameters of 1, 2, 4, 8, 12 blocks": counts,
        "output shape": list(nets[-1](torch.randn(2, 6, 8)).shape),
    }


def heat_map(table: Tensor, names: Sequence[str], across: str, down: str, bar: str) -> Figure:
    """Draws a table (T, T) with values from 0 to 1; the last three name its axes and colours."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.add_subplot(xlabel=across, ylabel=down)
    ticks = range(len(names))
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    image = axes.imshow(table.numpy(), cmap="Blues", vmin=0, vmax=1)
    for row in ticks:
        for column in ticks:
            value = float(table[row, column])
            colour = "white" if value > 0.5 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
    figure.colorbar(image, label=bar)
    return figure
