"""The pictures of the small lessons: drawn by a run, in TensorBoard and as PNG."""

from pathlib import Path

import pytest
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

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
