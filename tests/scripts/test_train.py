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
