"""The modules of the small lessons, through ``gpu-learning fit`` and their own configurations."""

import pytest
import torch

from lightning_modules import BinaryClassifier, CurveRegressor, LineRegressor, WordSimilarity
from lightning_modules.evaluate import evaluate
from training.cli import TrainCLI


def fit(config: str, *options: str) -> TrainCLI:
    return TrainCLI(["fit", "-c", f"configs/{config}.yaml", *options])


def predictions(cli: TrainCLI) -> torch.Tensor:
    """Outputs for the test split, on the CPU."""
    return evaluate(cli.model, cli.datamodule.splits["test"][0]).flatten()


def test_line(device: str) -> None:
    cli = fit("line_regressor")
    expected = torch.tensor([13.0, 15.0, 21.0])
    torch.testing.assert_close(predictions(cli), expected, atol=0.005, rtol=0)
    loaded = LineRegressor.load_from_checkpoint(
        cli.trainer.checkpoint_callback.best_model_path, weights_only=True
    )
    for ours, theirs in zip(loaded.parameters(), cli.model.parameters(), strict=True):
        assert torch.equal(ours.cpu(), theirs.cpu())


def test_the_line_is_the_courses_net() -> None:
    net = LineRegressor().net
    assert sum(p.numel() for p in net.parameters()) == 25
    # Without an activation equal steps of x are equal steps of y.
    y = net(torch.tensor([[0.0], [1.0], [2.0]])).flatten()
    torch.testing.assert_close(y[2] - y[1], y[1] - y[0])
    assert sum(p.numel() for p in LineRegressor(hidden=0).net.parameters()) == 2
    with pytest.raises(ValueError, match="hidden must be 0"):
        LineRegressor(hidden=-1)


def test_a_net_without_activation_is_a_line(device: str) -> None:
    options = ("--data.init_args.curve=sine", "--trainer.max_epochs=600")
    errors = []
    for activation in ("relu", "none"):
        cli = fit("curve_regressor", *options, f"--model.init_args.activation={activation}")
        target = cli.datamodule.splits["test"][1].flatten().cpu()
        errors.append((predictions(cli) - target).square().mean().item())
        assert sum(p.numel() for p in cli.model.parameters()) == 25
    assert errors[1] >= 20 * errors[0]


def test_binary_classifier_predicts_probabilities(device: str) -> None:
    cli = fit("binary_classifier")
    assert float(cli.trainer.callback_metrics["train/loss"]) <= 0.002
    probability = torch.cat(cli.trainer.predict(cli.model, cli.datamodule)).cpu()
    assert ((probability > 0.5) == torch.tensor([False, True, False, True])).all()
    torch.testing.assert_close(predictions(cli).sigmoid(), probability)
    assert cli.trainer.test(cli.model, cli.datamodule, verbose=False)[0]["test/acc"] == 1


@pytest.mark.parametrize("score", ["linear", "dot"])
def test_word_similarity(score: str, device: str) -> None:
    cli = fit("word_similarity", f"--model.init_args.score={score}")
    probability = predictions(cli).sigmoid()
    related = cli.datamodule.splits["test"][1].cpu() == 1
    assert probability[related].min() >= 0.99
    assert probability[~related].max() <= 0.01
    assert not cli.model.net.weight[0].any()  # padding


def test_word_similarity_of_pairs_of_ones_own(gpu_learning) -> None:
    pairs = "[[tea,coffee,1],[tea,cup,0]]"
    command = ["fit", "-c", "configs/word_similarity.yaml", f"--data.init_args.pairs={pairs}"]
    code, _, err = gpu_learning(*command, "--trainer.max_epochs=2")
    assert code == 1
    assert "the data has 5 words" in err
    assert "set --model.init_args.num_words 5" in err
    code, _, err = gpu_learning(*command, "--trainer.max_epochs=2", "--model.init_args.num_words=5")
    assert code == 0, err


def test_the_pair_model_is_a_linear_layer_over_both_vectors() -> None:
    model = WordSimilarity()
    assert model.score is not None
    both = torch.cat([model.net.weight[3], model.net.weight[4]])
    logit = model(torch.tensor([[3, 4]]))
    torch.testing.assert_close(logit, model.score(both))
    with pytest.raises(ValueError, match="score must be linear or dot"):
        WordSimilarity(score="cosine")


@pytest.mark.parametrize("model", [LineRegressor, CurveRegressor, BinaryClassifier, WordSimilarity])
def test_forward_of_the_example(model: type[torch.nn.Module]) -> None:
    net = model()
    assert net(net.example_input_array).shape[0] == 1


def test_an_activation_that_does_not_exist(gpu_learning) -> None:
    code, _, err = gpu_learning(
        "fit", "-c", "configs/curve_regressor.yaml", "--model.init_args.activation=rellu"
    )
    assert code != 0
    assert "one of none, relu, sigmoid, tanh, got 'rellu'; did you mean relu?" in err
    assert "Traceback" not in err


def test_a_scheduler_that_does_not_exist(gpu_learning) -> None:
    code, _, err = gpu_learning(
        "fit", "-c", "configs/lr_schedules.yaml", "--trainer.callbacks+=callbacks.StpLR"
    )
    assert code != 0
    assert "StepLR" in err
    assert "Traceback" not in err
