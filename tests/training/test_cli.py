from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import ROOT

DIGITS = ("fit", "-c", "configs/digits_cnn.yaml")


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True, map_location="cpu")["state_dict"]


def test_fit_then_test_logs_into_the_run(gpu_learning, workplace: Path, device: str) -> None:
    code, out, _ = gpu_learning(*DIGITS, "--trainer.max_epochs=1")
    assert code == 0
    assert "epoch 1/1" in out
    run = workplace / "logs" / "digits_cnn" / "version_0"
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    before = (run / "config.yaml").read_text()
    code, out, _ = gpu_learning("test", *DIGITS[1:])
    assert code == 0
    assert "test/acc" in out
    assert (run / "predictions.png").is_file()
    assert (run / "config.yaml").read_text() == before
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]


def test_the_saved_config_reproduces_the_run(gpu_learning, workplace: Path, device: str) -> None:
    gpu_learning(*DIGITS, "--trainer.max_epochs=1", "--model.init_args.lr=0.002")
    runs = workplace / "logs" / "digits_cnn"
    assert yaml.safe_load((runs / "version_0" / "config.yaml").read_text())["model"]["init_args"][
        "lr"
    ] == pytest.approx(0.002)
    code, _, err = gpu_learning("fit", "-c", str(runs / "version_0" / "config.yaml"))
    assert code == 0, err
    first, second = (weights(runs / f"version_{n}" / "checkpoints" / "last.ckpt") for n in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_validate_and_predict(gpu_learning, workplace: Path, device: str) -> None:
    gpu_learning(*DIGITS, "--trainer.max_epochs=1")
    for command in ("validate", "predict"):
        code, _, err = gpu_learning(command, *DIGITS[1:])
        assert code == 0, err
    path = workplace / "logs" / "digits_cnn" / "version_0" / "predictions.pt"
    probabilities = torch.cat(torch.load(path, weights_only=True))
    assert probabilities.shape == (360, 10)


def test_every_config_instantiates(gpu_learning) -> None:
    from training.cli import TrainCLI

    for path in sorted((ROOT / "configs").glob("*.yaml")):
        if path.name != "trainer.yaml":
            cli = TrainCLI(["fit", "-c", str(path)], run=False)
            assert cli.trainer is not None, path
            assert cli.trainer.logger.name == path.stem


def bad(gpu_learning, *arguments: str) -> tuple[int, str]:
    code, _, err = gpu_learning(*arguments)
    assert code != 0
    assert "Traceback" not in err
    said = [line for line in err.splitlines() if line.startswith("gpu-learning: error: ")]
    assert len(said) == 1, err
    return code, said[0]


def test_typos_get_the_nearest_name(gpu_learning, workplace: Path) -> None:
    cases = {
        "model: {class_path: lightning_modules.MNISTCN}": "did you mean 'MNISTCNN'",
        "model: {class_path: lightning_modules.MNISTCNN, init_args: {hiden: 3}}": "'hidden'",
        "data: {class_path: datamodules.DigitsDataModule, init_args: {batchsize: 3}}": "batch_size",
        "trainer: {max_epoch: 3}": "did you mean 'trainer.max_epochs'",
        "modle: {class_path: lightning_modules.MNISTCNN}": "did you mean 'model'",
        "trainer: {max_epochs: three}": "trainer.max_epochs: expected int",
    }
    for number, (text, expected) in enumerate(cases.items()):
        (workplace / f"{number}.yaml").write_text(text + "\n")
        code, said = bad(gpu_learning, *DIGITS, "-c", f"{number}.yaml")
        assert code == 2
        assert expected in said
    assert not (workplace / "logs").exists()


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--trainer.callbacks+=callbacks.FiniteLoss", "callbacks.FiniteLoss is in the callbacks"),
        ("--trainer.log_every_n_steps=0", "log_every_n_steps must be at least 1"),
        ("--trainer.accumulate_grad_batches=0", "accumulate_grad_batches must be at least 1"),
        ("--data.init_args.batch_size=0", "batch_size must be at least 1"),
        ("--trainer.devices=foo", "the trainer cannot be built so"),
        ("--ckpt_path=configs", "does not exist, or is no file"),
        ("--model.init_args.lr=.nan", "must be a number above 0, got lr nan"),
        ("--model.init_args.lr=-0.1", "must be a number above 0, got lr -0.1"),
        ("--model.init_args.num_classes=5", "gives 10 classes, MNISTCNN tells 5 apart"),
        ("--trainer.callbacks+=callbacks.TextSamples", "TextSamples is for tokens"),
        ("--model=lightning_modules.MiniGPT", "MiniGPT is for tokens, and DigitsDataModule gives"),
        ("--data=datamodules.CharTextDataModule", "MNISTCNN is for images"),
    ],
)
def test_values_that_cannot_be(gpu_learning, option: str, expected: str) -> None:
    _, said = bad(gpu_learning, *DIGITS, option)
    assert expected in said


def test_yaml_that_holds_itself(gpu_learning, workplace: Path) -> None:
    (workplace / "loop.yaml").write_text("trainer: &all\n  max_epochs: 1\n  logger: *all\n")
    code, said = bad(gpu_learning, *DIGITS, "-c", "loop.yaml")
    assert code == 1
    assert "'logger' in the YAML is an alias of what it is itself part of" in said


def test_an_alias_beside_its_anchor_is_fine(gpu_learning, workplace: Path) -> None:
    (workplace / "twice.yaml").write_text(
        "data: {init_args: {rotate: &few 3, shift: *few}}\ntrainer: {max_epochs: 1}\n"
    )
    code, _, err = gpu_learning(*DIGITS, "-c", "twice.yaml", "--trainer.limit_train_batches=1")
    assert code == 0, err


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_other_precisions_train(gpu_learning, precision: str, device: str) -> None:
    code, _, err = gpu_learning(
        *DIGITS, f"--trainer.precision={precision}", "--trainer.max_epochs=1"
    )
    assert code == 0, err


def test_a_checkpoint_without_its_callbacks(gpu_learning, workplace: Path) -> None:
    gpu_learning(*DIGITS, "--trainer.max_epochs=1")
    last = workplace / "logs" / "digits_cnn" / "version_0" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    del checkpoint["callbacks"]
    torch.save(checkpoint, "stripped.ckpt")
    _, said = bad(gpu_learning, *DIGITS, "--ckpt_path=stripped.ckpt")
    assert "has no callbacks" in said


def test_steps_on_a_cpu_flush_what_is_nearly_nothing(gpu_learning) -> None:
    from training.cli import TrainCLI

    TrainCLI([*DIGITS], run=False)
    assert torch.tensor(1e-39) * 1 == 0


def test_ctrl_c_says_how_to_go_on(gpu_learning, workplace: Path) -> None:
    spy = {"class_path": "tests.scripts.spies.Interrupt"}
    (workplace / "spy.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [spy]}}))
    code, _, err = gpu_learning(*DIGITS, "-c", "spy.yaml")
    assert code == 130
    assert "--ckpt_path last" in err


def test_an_lr_scheduler_alone(gpu_learning) -> None:
    _, said = bad(gpu_learning, *DIGITS, "--lr_scheduler=StepLR", "--lr_scheduler.step_size=2")
    assert "--optimizer" in said


def test_a_gpu_that_is_not_there(gpu_learning) -> None:
    _, said = bad(gpu_learning, *DIGITS, "--trainer.accelerator=gpu")
    assert "gpu-learning doctor" in said


def test_checkpoints_that_cannot_be_used(gpu_learning, workplace: Path) -> None:
    _, said = bad(gpu_learning, *DIGITS, "--ckpt_path=last")
    assert "no last.ckpt under logs/digits_cnn" in said
    _, said = bad(gpu_learning, "test", *DIGITS[1:])
    assert "no best.ckpt" in said
    _, said = bad(gpu_learning, *DIGITS, "--ckpt_path=nowhere.ckpt")
    assert "does not exist" in said

    gpu_learning(*DIGITS, "--trainer.max_epochs=1")
    good = workplace / "logs" / "digits_cnn" / "version_0" / "checkpoints" / "last.ckpt"
    whole = good.read_bytes()
    damaged = workplace / "damaged.ckpt"
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (b"", b"not a checkpoint", whole[: len(whole) // 2], bytes(flipped)):
        damaged.write_bytes(content)
        _, said = bad(gpu_learning, *DIGITS, "--ckpt_path=damaged.ckpt")
        assert "cannot be read as a checkpoint" in said

    mlp = ("fit", "-c", "configs/mnist_mlp.yaml", "--data=datamodules.DigitsDataModule")
    _, said = bad(gpu_learning, *mlp, f"--ckpt_path={good}")
    assert "lightning_modules.MNISTCNN" in said
    assert "lightning_modules.MNISTMLP" in said


def test_the_checkpoints_hyperparameters_win_and_it_says_so(gpu_learning, device: str) -> None:
    gpu_learning(*DIGITS, "--trainer.max_epochs=1")
    code, _, err = gpu_learning(
        *DIGITS, "--trainer.max_epochs=1", "--ckpt_path=last", "--model.init_args.lr=0.5"
    )
    assert code == 0, err
    assert "lr=0.005 comes from the checkpoint; the 0.5 asked for is not used" in err


def test_nan_loss_stops_the_command(gpu_learning, workplace: Path, device: str) -> None:
    _, said = bad(gpu_learning, *DIGITS, "--model.init_args.lr=1e30")
    assert "at step" in said
    for path in workplace.rglob("*.ckpt"):
        assert all(torch.isfinite(value.float()).all() for value in weights(path).values())


def test_without_a_logger_nothing_is_littered(gpu_learning, workplace: Path, device: str) -> None:
    code, _, err = gpu_learning(*DIGITS, "--trainer.max_epochs=1", "--trainer.logger=false")
    assert code == 0, err
    assert {path.name for path in workplace.iterdir()} == {"configs", "logs"}
