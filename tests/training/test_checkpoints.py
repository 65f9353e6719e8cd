"""Whether a checkpoint and the data of a command belong together."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import Namespace

from tests.helpers.commands import DIGITS, bad
from training.checkpoints import other_data

FIT = (*DIGITS, "--trainer.max_epochs=1")
THEN = {"_class_path": "datamodules.Images", "batch_size": 8, "classes": None, "seed": 0}


@pytest.mark.parametrize(
    ("path", "arguments", "expected"),
    [
        ("datamodules.Images", {"batch_size": 9, "seed": 0, "new": 1}, ""),
        ("Images", {}, ""),
        ("datamodules.Other", {}, "was trained on datamodules.Images; the data here is datamod"),
        (
            "datamodules.Images",
            {"classes": [1], "seed": 2},
            "was trained on Images with classes None, seed 0; the data here has classes [1], s",
        ),
    ],
)
def test_other_data_are_named(
    path: str, arguments: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    torch.save({"datamodule_hyper_parameters": THEN}, tmp_path / "a.ckpt")
    torch.save({}, tmp_path / "none.ckpt")
    data = Namespace(class_path=path, init_args=Namespace(arguments))
    said = other_data(tmp_path / "a.ckpt", data)
    assert said.startswith(expected)
    assert bool(said) == bool(expected)
    assert other_data(tmp_path / "none.ckpt", data) == ""
    assert other_data(tmp_path, data) == ""


def test_a_test_on_other_data_says_so(gpu_learning, workplace: Path, device: str) -> None:
    assert gpu_learning(*FIT)[0] == 0
    code, out, err = gpu_learning("test", *DIGITS[1:])
    assert code == 0, err
    assert "warning" not in err
    scores = r"test/acc    0\.\d{4}\n(test/acc_\d  [01]\.\d{4}\n){10}test/loss   \d\.\d{4}\n"
    assert re.match(scores + "tested logs/", out), out
    assert "\ntested logs/digits_cnn/version_0/checkpoints/best.ckpt (val/acc " in out
    code, out, err = gpu_learning("validate", *DIGITS[1:], "--data.init_args.seed=3")
    assert code == 0, err
    assert (
        "gpu-learning: warning: the checkpoint was trained on DigitsDataModule with seed 0; the "
        "data here has seed 3\n"
    ) in err
    assert "\nvalidated logs/digits_cnn/version_0/checkpoints/best.ckpt (val/acc " in out
    code, out, err = gpu_learning("validate", *DIGITS[1:], "--verbose=false")
    assert code == 0, err
    assert out.startswith("validated logs/digits_cnn/")


def test_data_that_do_not_fit_are_refused_in_one_sentence(gpu_learning, workplace: Path) -> None:
    points = ("-c", "configs/binary_classifier.yaml")
    assert gpu_learning("fit", *points, "--trainer.max_epochs=1")[0] == 0
    _, said = bad(gpu_learning, "test", *points, "--data=datamodules.DropoutStudyDataModule")
    path = "logs/binary_classifier/version_0/checkpoints/best.ckpt"
    assert said.startswith(
        f"gpu-learning: error: {path} was trained on datamodules.GaussiansDataModule; the data here"
        " is datamodules.DropoutStudyDataModule, which does not fit it ("
    )
    assert said.endswith("(1000x10 and 2x16)); use the configuration that it was trained with")
