"""Diagrams of the nets that the pages of the course explain: ``python -m course.diagrams``.

Part of ``make docs``. Shapes and numbers of parameters are read off the nets, not written here.
"""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle
from PIL import Image
from torch import nn

from course.pages import FOLDER
from course.tensors import TwoLayers
from lightning_modules.nets import CNN, GPT, GPTConfig, TransformerBlock

LEARNED, PLAIN = "#cfe3f7", "#f2f2f2"  # boxes with parameters, and those without
INK = "#333333"


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure whose coordinates are inches, without axes."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.axis("off")
    return figure, axes


def box(axes: Axes, x: float, y: float, text: str, learned: bool = False, width: float = 1.5):
    """A box around its middle; with parameters it is blue."""
    shape = FancyBboxPatch(
        (x - width / 2 + 0.06, y - 0.2),
        width - 0.12,
        0.4,
        boxstyle="round,pad=0.06",
        facecolor=LEARNED if learned else PLAIN,
        edgecolor=INK,
    )
    axes.add_patch(shape)
    axes.text(x, y, text, ha="center", va="center", fontsize=9, color=INK)


def label(axes: Axes, x: float, y: float, text: str, **how) -> None:
    axes.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": 9, "color": INK, **how})


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": INK, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def shape(tensor: torch.Tensor) -> str:
    return str(tuple(tensor.shape))


def first_network() -> Figure:
    """Step 6: circles are numbers, lines are weights."""
    net = TwoLayers()
    columns = [net.hidden.in_features, net.hidden.out_features, net.output.out_features]
    names = ["input", "hidden", "output"]
    figure, axes = canvas(7, 3.6)
    places = []
    for x, count, name in zip((1, 3.5, 6), columns, names, strict=True):
        rows = [(x, 1.85 + 0.34 * (i - (count - 1) / 2)) for i in range(count)]
        places.append(rows)
        label(axes, x, 3.42, f"{name}: {count}")
    for left, right, layer in zip(places, places[1:], (net.hidden, net.output), strict=False):
        for start in left:
            for end in right:
                axes.plot(*zip(start, end, strict=True), color="#9bbfe3", linewidth=0.8, zorder=1)
        assert len(left) * len(right) == layer.weight.numel()
        biases = "biases" if len(right) > 1 else "bias"
        text = f"{layer.weight.numel()} weights\n{layer.bias.numel()} {biases}"
        label(axes, (left[0][0] + right[0][0]) / 2, 0.22, text)
    for x, y in (place for column in places for place in column):
        axes.add_patch(Circle((x, y), 0.13, facecolor="white", edgecolor=INK, zorder=2))
    return figure


def cnn() -> Figure:
    """Step 12: an image on its way through the net, as large and as deep as it is there."""
    net = CNN().eval()
    image = torch.zeros(1, 1, 28, 28)
    first = net._halve(net.conv1(image))
    second = net._halve(net.conv2(first))
    hidden = net.fc1(second.flatten(1))
    figure, axes = canvas(9.6, 2.6)
    x = 0.3
    layers = [None, net.conv1, net.conv2]
    words = ["image", "conv1, ReLU,\npooling", "conv2, ReLU,\npooling"]
    for maps, layer, said in zip((image, first, second), layers, words, strict=True):
        side, count = maps.shape[-1] / 28 * 1.2, maps.shape[1]
        if layer is not None:
            arrow(axes, (x - 1.05, 1.4), (x - 0.1, 1.4))
            label(axes, x - 0.58, 2.1, f"{said}\n{parameters(layer):,} parameters")
        for i in range(count):
            corner = (x + 0.045 * i, 1.4 - side / 2 - 0.022 * i + 0.011 * count)
            face = "#404040" if layer is None else LEARNED
            axes.add_patch(Rectangle(corner, side, side, facecolor=face, edgecolor=INK, zorder=i))
        width = side + 0.045 * count
        label(axes, x + width / 2, 0.25, shape(maps[0]))
        x += width + (1.25 if maps is not second else 1.45)
    for values, layer, said in (
        (hidden, net.fc1, "flatten,\nfc1, ReLU"),
        (net.fc2(hidden), net.fc2, "fc2"),
    ):
        arrow(axes, (x - 1.3, 1.4), (x - 0.1, 1.4))
        label(axes, x - 0.74, 2.1, f"{said}\n{parameters(layer):,} parameters")
        count = values.shape[1]
        height = 1.1 if count > 10 else 0.6
        axes.add_patch(
            Rectangle((x, 1.4 - height / 2), 0.14, height, facecolor=LEARNED, edgecolor=INK)
        )
        label(axes, x + 0.07, 0.25, shape(values[0]))
        x += 0.14 + 1.45
    return figure


def attention() -> Figure:
    """Step 20: query, key and value of four words with eight numbers each."""
    words, width = 4, 8
    figure, axes = canvas(9, 3.1)
    label(axes, 0.6, 1.55, f"words\n({words}, {width})")
    for name, y in (("query", 2.6), ("key", 1.55), ("value", 0.5)):
        arrow(axes, (1.05, 1.55), (1.6, y))
        box(axes, 2.2, y, name, learned=True, width=1.2)
        label(axes, 2.2, y - 0.4, f"({words}, {width})")
    arrow(axes, (2.8, 2.6), (3.75, 2.15))
    arrow(axes, (2.8, 1.55), (3.75, 2.0))
    box(axes, 4.65, 2.08, f"query @ key.T / √{width}", width=1.8)
    label(axes, 4.65, 1.68, f"scores ({words}, {words})")
    arrow(axes, (5.55, 2.08), (6.0, 2.08))
    box(axes, 6.5, 2.08, "softmax", width=1.0)
    label(axes, 6.5, 1.68, f"weights ({words}, {words})")
    arrow(axes, (6.5, 1.55), (7.3, 1.2))
    arrow(axes, (2.8, 0.5), (7.0, 0.85))
    box(axes, 7.75, 0.95, "weights @ value", width=1.5)
    label(axes, 7.75, 0.5, f"new words ({words}, {width})")
    label(axes, 0.2, 0.12, "blue: with parameters", ha="left", fontsize=8)
    return figure


def transformer_block() -> Figure:
    """Step 21: the two sums, each around a part of the block."""
    block = TransformerBlock()
    parts = [
        ("attention", block.attention),
        ("norm1", block.norm1),
        ("linear, ReLU, linear", block.ff),
        ("norm2", block.norm2),
    ]
    figure, axes = canvas(9.4, 1.9)
    label(axes, 0.35, 0.9, "x")
    at = {"attention": 1.75, "norm1": 3.95, "linear, ReLU, linear": 6.0, "norm2": 8.2}
    for name, part in parts:
        box(axes, at[name], 0.9, name, learned=True, width=1.7 if "ReLU" in name else 1.3)
        label(axes, at[name], 0.45, f"{parameters(part)} parameters", fontsize=8)
    for x in (2.85, 7.25):
        axes.add_patch(Circle((x, 0.9), 0.14, facecolor="white", edgecolor=INK))
        label(axes, x, 0.9, "+")
    ends = [
        (0.5, 1.1),
        (2.4, 2.71),
        (2.99, 3.3),
        (4.6, 5.15),
        (6.85, 7.11),
        (7.39, 7.55),
        (8.85, 9.2),
    ]
    for start, end in ends:
        arrow(axes, (start, 0.9), (end, 0.9))
    for start, end in ((0.75, 2.85), (4.85, 7.25)):
        up = 1.6
        axes.plot([start, start, end], [0.9, up, up], color=INK, linewidth=1)
        arrow(axes, (end, up), (end, 1.04))
        label(axes, (start + end) / 2, up + 0.15, "unchanged", fontsize=8)
    return figure


def mini_gpt() -> Figure:
    """Step 22: from characters to the probabilities of the next one."""
    config = GPTConfig(vocab_size=15, context=32)
    net = GPT(config)
    ids = torch.zeros(1, 7, dtype=torch.long)
    vectors, logits = net.token(ids), net(ids)
    figure, axes = canvas(9.6, 2.2)
    label(axes, 0.65, 1.1, f'"the cat"\n{shape(ids)}')
    stages = [
        (2.0, "token vector\n+ position vector", parameters(net.token) + parameters(net.position)),
        *((3.75 + 1.35 * i, f"block {i + 1}", parameters(one)) for i, one in enumerate(net.blocks)),
        (6.45, "linear layer", parameters(net.head)),
    ]
    x = 1.15
    for at, text, count in stages:
        width = 1.5 if "vector" in text else 1.1
        arrow(axes, (x, 1.1), (at - width / 2, 1.1))
        box(axes, at, 1.1, text, learned=True, width=width)
        label(axes, at, 0.55, f"{count:,}\nparameters", fontsize=8)
        x = at + width / 2
    label(axes, 3.9, 1.75, f"{shape(vectors)} all the way", fontsize=8)
    arrow(axes, (x, 1.1), (7.35, 1.1))
    label(axes, 7.75, 1.1, f"logits\n{shape(logits)}")
    arrow(axes, (8.15, 1.1), (8.55, 1.1))
    box(axes, 9.0, 1.1, "softmax", width=0.9)
    label(axes, 9.0, 0.55, "of the next\ncharacter", fontsize=8)
    return figure


DIAGRAMS: dict[str, Callable[[], Figure]] = {
    "06-first-network": first_network,
    "12-mnist-cnn-layers": cnn,
    "20-attention-flow": attention,
    "21-transformer-block-parts": transformer_block,
    "22-mini-gpt-parts": mini_gpt,
}


def main() -> int:
    """Writes all diagrams into ``docs/course/images``."""
    for name, draw in DIAGRAMS.items():
        path = Path(FOLDER) / "images" / f"{name}.png"
        drawn = io.BytesIO()
        draw().savefig(drawn, dpi=110)
        # Few colors are enough for lines and boxes, and make a third of the bytes.
        Image.open(drawn).convert("RGB").quantize(32).save(path, optimize=True)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
