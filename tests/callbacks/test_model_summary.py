"""What a fit prints of its model: layers, and nothing else."""

import pytest

from training.cli import TrainCLI


def test_layers_and_no_metrics(workplace, device: str, capfd: pytest.CaptureFixture[str]) -> None:
    TrainCLI(["fit", "-c", "configs/digits_cnn.yaml", "--trainer.max_steps=1"])
    said = capfd.readouterr().out
    for layer in ("net.conv1", "net.conv2", "net.fc1", "net.fc2"):
        assert layer in said
    assert "Total params: 52.1 K" in said
    assert "Modules in train mode: 5" in said
    for metric in ("val_acc", "test_acc", "test_class_acc", "confusion"):
        assert metric not in said


@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.enable_model_summary=false"],
        ["--trainer.callbacks+=ModelSummary", "--trainer.callbacks.max_depth=0"],
    ],
)
def test_the_trainers_own_switch_and_a_summary_that_was_named(
    workplace, device: str, capfd: pytest.CaptureFixture[str], options: list[str]
) -> None:
    TrainCLI(["fit", "-c", "configs/digits_cnn.yaml", "--trainer.max_steps=1", *options])
    said = capfd.readouterr()
    assert "net.conv1" not in said.out + said.err
