"""What a fit says when it ends."""

from pathlib import Path

import pytest

TORCHSCRIPT = (
    "--trainer.callbacks+=callbacks.Export",
    "--trainer.callbacks.name=digits",
    "--trainer.callbacks.formats=[torchscript]",
)


@pytest.mark.slow
def test_what_a_fit_exported_is_used_next_and_replaced_aloud(
    gpu_learning, workplace: Path, device: str, caplog: pytest.LogCaptureFixture
) -> None:
    short = ("--trainer.max_epochs=1", "--data.init_args.batches=60")
    code, out, err = gpu_learning("fit", "-c", "configs/mini_gpt.yaml", *short)
    assert code == 0, err
    said = caplog.messages
    stopped = said.index("`Trainer.fit` stopped: `max_epochs=1` reached.")
    assert said[stopped + 1] == "exporting to models/mini_gpt ..."
    following = out.partition("next:\n")[2].splitlines()
    assert following[0].startswith("  gpu-learning validate -c logs/mini_gpt/version_0/config.yaml")
    assert following[1:] == [
        "  gpu-learning generate models/mini_gpt 'the cat'",
        "  gpu-learning serve models/",
        "  tensorboard --logdir logs/mini_gpt",
    ]
    code, _, err = gpu_learning("export", "logs/mini_gpt", "--format", "safetensors")
    assert code == 0, err
    assert err.index("exporting to models/mini_gpt ...") < err.index("replaced models/mini_gpt, ")
    assert "which had tokenizer, safetensors\n" in err
    assert "replaced models/mini_gpt, one as good as this (bits per character " in err


@pytest.mark.slow
def test_an_image_model_is_classified_with(gpu_learning, workplace: Path, device: str) -> None:
    fit = ("fit", "-c", "configs/digits_cnn.yaml", "--trainer.max_epochs=1")
    code, out, err = gpu_learning(*fit, *TORCHSCRIPT)
    assert code == 0, err
    assert "  gpu-learning classify models/digits FILE\n  gpu-learning serve models/\n" in out


def test_a_fit_without_an_export_names_the_command(gpu_learning, workplace: Path) -> None:
    code, out, err = gpu_learning(
        "fit", "-c", "configs/line_regressor.yaml", "--trainer.max_epochs=1"
    )
    assert code == 0, err
    assert out.endswith(
        "  gpu-learning export logs/line_regressor/version_0\n"
        "  tensorboard --logdir logs/line_regressor\n"
    )


def test_a_run_has_the_name_that_was_given(gpu_learning, workplace: Path) -> None:
    fit = ("fit", "-c", "configs/digits_cnn.yaml", "--trainer.max_epochs=1")
    for arguments in (("--trainer.logger.version=lr_0.01", "--model.init_args.lr=0.01"), ()):
        code, out, err = gpu_learning(*fit, *arguments)
        assert code == 0, err
    assert "run: logs/digits_cnn/version_0\n" in out
    runs = Path("logs/digits_cnn")
    assert {path.name for path in runs.iterdir()} == {"lr_0.01", "version_0"}
    # A name is as good as a number where a run is looked up, and TensorBoard lists folders.
    code, _, err = gpu_learning("test", "-c", "configs/digits_cnn.yaml")
    assert code == 0, err
    assert "gpu-learning: takes logs/digits_cnn/lr_0.01/checkpoints/best.ckpt (val/acc " in err
    assert (runs / "lr_0.01" / "predictions.png").is_file()
    for name, said in (
        ("lr_0.01", "logs/digits_cnn/lr_0.01 holds the checkpoints of another run"),
        ("a/b", "the logger's version 'a/b' cannot name a run's folder; take a name without"),
    ):
        code, _, err = gpu_learning(*fit, f"--trainer.logger.version={name}")
        assert (code, said in err) == (1, True), err
    assert len(list(runs.iterdir())) == 2


def test_a_fit_without_tensorboard_does_not_name_it(gpu_learning, workplace: Path) -> None:
    csv = "--trainer.logger=lightning.pytorch.loggers.CSVLogger"
    code, out, err = gpu_learning(
        *("fit", "-c", "configs/line_regressor.yaml", "--trainer.max_epochs=1"),
        *(csv, "--trainer.logger.save_dir=logs"),
    )
    assert code == 0, err
    assert "tensorboard" not in out


def test_a_test_without_a_checkpoint_names_the_fit(gpu_learning, workplace: Path) -> None:
    code, _, err = gpu_learning("test", "-c", "configs/digits_cnn.yaml")
    assert code == 1
    assert "train first: gpu-learning fit -c configs/digits_cnn.yaml\n" in err


@pytest.mark.parametrize(
    ("monitor", "said"),
    [
        ("val/accuracy", "; there is val/acc, val/loss (did you mean 'val/acc'?); name one of"),
        ("val_loss", "; there is val/acc, val/loss (did you mean 'val/loss'?); name one of"),
        ("f1", "; there is val/acc, val/loss; name one of them and its direction, such as"),
    ],
)
def test_an_unknown_monitor_is_refused_before_the_training(
    gpu_learning, workplace: Path, monitor: str, said: str
) -> None:
    code, out, err = gpu_learning(
        "fit", "-c", "configs/digits_cnn.yaml", f"--checkpoint.monitor={monitor}"
    )
    assert code == 1
    assert err.splitlines()[-1].startswith("gpu-learning: ")
    assert f"monitor {monitor!r} is not logged{said}" in err.splitlines()[-1]
    assert "epoch 1" not in out
    assert not any((workplace / "logs").glob("*"))


def test_what_training_logs_can_be_the_monitor(gpu_learning, workplace: Path) -> None:
    code, out, err = gpu_learning(
        *("fit", "-c", "configs/digits_cnn.yaml", "--trainer.max_epochs=1"),
        *("--checkpoint.monitor=train/loss", "--checkpoint.mode=min"),
    )
    assert code == 0, err
    assert "best.ckpt (train/loss " in out


@pytest.mark.parametrize(
    ("config", "limit"),
    [("digits_cnn", "max_epochs"), ("line_regressor", "limit_train_batches")],
)
def test_a_fit_without_a_step_says_so(
    gpu_learning, workplace: Path, config: str, limit: str
) -> None:
    code, out, err = gpu_learning(
        "fit", "-c", f"configs/{config}.yaml", f"--trainer.{limit}=0", "--cpu_threads=null"
    )
    assert code == 0, err
    assert f"nothing was trained: --trainer.{limit} is 0\n" in out


def test_a_schedule_without_a_step_is_refused_and_leaves_nothing(
    gpu_learning, workplace: Path
) -> None:
    code, _, err = gpu_learning(
        "fit", "-c", "configs/digits_cnn.yaml", "--trainer.limit_train_batches=0"
    )
    assert code == 1
    assert "set --trainer.limit_train_batches to more, or use validate or test\n" in err
    assert not (workplace / "logs").exists()
