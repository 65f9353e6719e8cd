"""A fit that learned nothing says so, and no other does."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from callbacks import BestAndLast
from lightning_modules import MNISTCNN, LineRegressor, MiniGPT
from training.outcome import learned_nothing

CNN = MNISTCNN()
TWO = MNISTCNN(num_classes=2)
GPT = MiniGPT(vocab_size=23)


def end(lr: float = 100, **metrics: float) -> Any:
    named = {name.replace("_", "/"): torch.tensor(value) for name, value in metrics.items()}
    adam = torch.optim.Adam(nn.Linear(1, 1).parameters(), lr=lr)
    return SimpleNamespace(
        callback_metrics=named, optimizers=[adam], global_step=100, checkpoint_callback=None
    )


@pytest.mark.parametrize(
    ("model", "metrics", "said"),
    [
        (CNN, {"train_loss": 2.31, "val_acc": 0.0778}, "train/loss 2.3100 with val/acc 0.0778 at"),
        (CNN, {"train_loss": 2.25, "val_acc": 0.1333}, "no better than guesses among 10 classes;"),
        (CNN, {"train_loss": 13.7}, "this run learned nothing: train/loss 13.7000 at its end is"),
        (GPT, {"train_loss": 3.14, "val_loss": 3.2}, "no better than guesses among 23 tokens; try"),
        (TWO, {"train_loss": 0.7, "val_acc": 0.52}, "guesses among 2 classes; try a learning rate"),
        (
            CNN,
            {"train_loss": float("nan")},
            "this run collapsed: train/loss is nan at its end; try",
        ),
        (LineRegressor(), {"train_loss": float("inf")}, "inf at its end; try a learning rate ten"),
        (CNN, {"train_loss": 0.1, "val_loss": float("nan")}, "this run collapsed: val/loss is nan"),
    ],
)
def test_a_run_that_learned_nothing(model: Any, metrics: dict[str, float], said: str) -> None:
    sentence = learned_nothing(end(**metrics), model)
    assert said in sentence
    assert sentence.endswith("ten times smaller than 100, or more steps if there were few")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("monitor", "best", "said"),
    [
        ("val/acc", 0.94, "this run diverged: val/acc was 0.9400 at its best and is 0.0778 at"),
        ("val/acc", 0.11, "this run learned nothing"),
        ("val/loss", 0.4, "this run diverged: val/loss was 0.4000 at its best and is 2.3300 at"),
        ("val/loss", 2.29, "this run learned nothing"),
        ("test/acc", 0.94, "this run learned nothing"),
    ],
)
def test_what_was_learned_and_lost_is_told(monitor: str, best: float, said: str) -> None:
    trainer = end(train_loss=2.31, val_acc=0.0778, val_loss=2.33)
    trainer.checkpoint_callback = BestAndLast(monitor)
    trainer.checkpoint_callback.best_model_score = torch.tensor(best)
    assert said in learned_nothing(trainer, CNN)


def test_few_steps_are_what_is_to_blame() -> None:
    trainer = end(train_loss=2.31, val_acc=0.0778)
    trainer.global_step = 1
    sentence = learned_nothing(trainer, CNN)
    assert "this run learned nothing in 1 optimizer step; train longer" in sentence
    assert "learning rate" not in sentence


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (2.3, "guesses among 10 classes; the learning rate 1e-05 is small already: try more steps"),
        (float("nan"), "; the learning rate 1e-05 is small already: clip gradients (--trainer.gr"),
    ],
)
def test_a_small_rate_is_not_made_smaller(loss: float, said: str) -> None:
    sentence = learned_nothing(end(lr=1e-5, train_loss=loss), CNN)
    assert said in sentence
    assert "smaller" not in sentence
    assert "ten times smaller than 0.001" in learned_nothing(end(lr=1e-3, train_loss=loss), CNN)


@pytest.mark.parametrize(
    ("model", "metrics"),
    [
        (CNN, {"train_loss": 0.5, "val_acc": 0.1}),  # it overfits
        (CNN, {"train_loss": 2.25, "val_acc": 0.3}),  # it has begun to learn
        (CNN, {"val_acc": 0.1}),  # nothing was trained
        (CNN, {}),
        (GPT, {"train_loss": 2.9}),
        (TWO, {"train_loss": 0.6, "val_acc": 0.5}),
        (LineRegressor(), {"train_loss": 1e6}),  # which is small or large by its unit
    ],
)
def test_other_runs(model: Any, metrics: dict[str, float]) -> None:
    assert learned_nothing(end(**metrics), model) == ""


def test_a_fit_says_it_where_it_ends(gpu_learning, device: str) -> None:
    fit = ("fit", "-c", "configs/digits_cnn.yaml", "--trainer.max_epochs=2")
    code, out, err = gpu_learning(*fit, "--model.init_args.lr=100")
    assert code == 0, err
    assert out.count("\nthis run learned nothing: train/loss ") == 1
    assert "; try a learning rate ten times smaller than 100, or more" in out
    code, out, err = gpu_learning(*fit, "--trainer.logger=false")
    assert code == 0, err
    assert "learned nothing" not in out
