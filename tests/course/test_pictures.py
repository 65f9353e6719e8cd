"""The lessons' bars and curves show the numbers that they were given."""

from course.pictures import bars, curves, stacks


def test_bars_are_as_long_as_their_values() -> None:
    axes = bars(["a", "b"], {"one": [1.0, 2.0], "two": [3.0, 4.0]}, ("value", "name")).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [1, 2, 3, 4]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    # Two series side by side, neither on the other.
    middles = [round(bar.get_y() + bar.get_height() / 2, 6) for bar in axes.patches]
    assert middles == [-0.2, 0.8, 0.2, 1.2]


def test_stacks_put_part_behind_part() -> None:
    parts = [{"new": 7}, {"history": 15, "new": 7}]
    axes = stacks(["turn 1", "turn 2"], parts, "tokens").axes[0]
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0, 7), (0, 15), (15, 7)]
    assert axes.patches[0].get_facecolor() == axes.patches[2].get_facecolor()
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["new", "history"]


def test_curves_begin_where_they_are_told() -> None:
    axes = curves({"loss": [3.0, 2.0]}, ("epoch", "loss"), ("before", 4.0), start=0).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[0, 3], [1, 2]]  # type: ignore[union-attr]
    assert list(axes.lines[1].get_ydata()) == [4, 4]
