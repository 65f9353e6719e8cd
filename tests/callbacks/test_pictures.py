"""The pictures of the small lessons: drawn by a run, in TensorBoard and as PNG."""

from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.confusion_matrix import confusion_figure
from callbacks.predictions import prediction_figure
from callbacks.tensorboard import enlarge_text
from datamodules.word_pairs import WORDS
from training.cli import TrainCLI


@pytest.mark.parametrize(
    ("config", "name"), [("line_regressor", "fit"), ("binary_classifier", "boundary")]
)
def test_picture(workplace: Path, config: str, name: str, device: str) -> None:
    TrainCLI(["fit", "-c", f"configs/{config}.yaml", "--trainer.max_epochs=4"])
    run = workplace / "logs" / config / "version_0"
    pixels = imread(run / f"{name}.png")
    assert pixels.shape[1] == 800
    assert pixels.std() > 0.05
    assert f"images/{name}" in EventAccumulator(str(run)).Reload().Tags()["images"]


def shown(figure: Figure) -> list[tuple[float, str]]:
    """Heights in pixels of the texts of a figure where TensorBoard shows it 350 pixels across."""
    scale = min(1.0, 350 / (100 * figure.get_figwidth())) * 100 / 72
    texts: Any = figure.findobj(Text)
    return [(text.get_fontsize() * scale, text.get_text()) for text in texts if text.get_text()]


LONG = ("airplane", "automobile", "a name of 16 char", "cat")


@pytest.mark.parametrize(("names", "count"), [(None, 32), (LONG, 32), (LONG, 2), (None, 0)])
def test_captions_are_read_in_tensorboard_and_as_wide_as_an_image(names: Any, count: int) -> None:
    torch.manual_seed(0)
    probabilities = torch.randn(count, 4).softmax(dim=1)
    probabilities[:1] = torch.eye(4)[2]
    labels = torch.arange(count) % 4
    figure = prediction_figure(
        torch.rand(count, 1, 8, 8), probabilities, labels, "Mistakes", 8, names
    )
    figure.draw_without_rendering()
    assert min(height for height, _ in shown(figure)) >= 8
    for axes in figure.axes:
        assert axes.title.get_window_extent().width <= 1.04 * axes.get_window_extent().width


@pytest.mark.parametrize("kind", ["confusion", "curves"])
def test_figures_are_read_in_tensorboard(kind: str) -> None:
    if kind == "confusion":
        figure = confusion_figure(torch.full((10, 10), 1000))
    else:
        figure = Figure(figsize=(8, 5))
        figure.add_subplot(xlabel="x", title="of").plot([0, 1], [2, 3], label="net")
        figure.axes[0].legend()
        enlarge_text(figure)
    figure.draw_without_rendering()
    assert min(height for height, _ in shown(figure)) >= 9


def test_embeddings_are_in_the_projector(workplace: Path, device: str) -> None:
    TrainCLI(["fit", "-c", "configs/word_similarity.yaml", "--trainer.max_epochs=4"])
    (words,) = (workplace / "logs").rglob("metadata.tsv")
    assert words.read_text().split() == list(WORDS)
    (vectors,) = (workplace / "logs").rglob("tensors.tsv")
    assert [len(row.split()) for row in vectors.read_text().splitlines()] == [4] * len(WORDS)


def test_few_lines_and_few_checkpoints_for_many_epochs(workplace: Path, capfd, device: str) -> None:
    TrainCLI(["fit", "-c", "configs/line_regressor.yaml", "--trainer.max_epochs=250"])
    said = [line.split()[1] for line in capfd.readouterr().out.splitlines() if "epoch" in line]
    assert said == ["100/250", "200/250", "250/250"]
    assert (workplace / "logs/line_regressor/version_0/checkpoints/last.ckpt").is_file()
