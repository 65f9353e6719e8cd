"""Pictures of the lessons that train nothing of their own to look at: bars and curves."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def bars(
    groups: Sequence[str], series: Mapping[str, Sequence[float]], labels: tuple[str, str]
) -> Figure:
    """Horizontal bars: one per group and series, groups from top to bottom.

    Args:
        groups: names of the groups.
        series: values by group; each series has its own color.
        labels: of the values and of the groups.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel=labels[0], ylabel=labels[1])
    height = 0.8 / len(series)
    for number, (name, values) in enumerate(series.items()):
        middles = [
            group + (number - (len(series) - 1) / 2) * height for group in range(len(groups))
        ]
        axes.barh(middles, values, height, label=name)
    axes.set_yticks(range(len(groups)), groups)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    if len(series) > 1:
        axes.legend()
    return figure


def stacks(groups: Sequence[str], parts: Sequence[Mapping[str, float]], label: str) -> Figure:
    """One horizontal bar per group, put together from named parts.

    Args:
        groups: names of the bars, from top to bottom.
        parts: name and length of each bar's parts, in order; one name has one color.
        label: of the lengths.
    """
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.add_subplot(xlabel=label)
    colors: dict[str, str] = {}
    for row, bar in enumerate(parts):
        left = 0.0
        for name, length in bar.items():
            known = name in colors
            color = colors.setdefault(name, f"C{len(colors)}")
            drawn = axes.barh(row, length, left=left, color=color, label=None if known else name)
            axes.bar_label(drawn, fmt="{:.0f}", label_type="center", color="white")
            left += length
    axes.set_yticks(range(len(groups)), groups)
    axes.invert_yaxis()
    axes.legend()
    return figure


def curves(
    series: Mapping[str, Sequence[float]],
    labels: tuple[str, str],
    level: tuple[str, float] | None = None,
    start: int = 1,
) -> Figure:
    """Curves over whole numbers.

    Args:
        series: values of each curve.
        labels: of the axis along and of the values.
        level: name and value of a dotted line across.
        start: number of the first value.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel=labels[0], ylabel=labels[1])
    for name, values in series.items():
        axes.plot(range(start, start + len(values)), values, "o-", label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if level:
        axes.axhline(level[1], color="black", linestyle=":", label=level[0])
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
