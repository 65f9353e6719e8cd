import csv
import time
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import ROOT
from tests.helpers.commands import DIGITS, bad, weights

# A few steps without a schedule over the whole run, so that a run can be continued for longer.
SHORT = (*DIGITS, "--trainer.max_epochs=1", "--trainer.limit_train_batches=2")
SHORT += ("--trainer.callbacks=[]", "--trainer.log_every_n_steps=1")


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


def test_the_saved_config_reproduces_the_run(gpu_learning, workplace: Path) -> None:
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


@pytest.mark.parametrize(
    ("devices", "data", "said"),
    [
        (1, DIGITS, ""),
        (2, ("fit", "-c", "configs/line_regressor.yaml"), ""),  # the whole set is a batch
        (
            2,
            (*DIGITS, "--data.init_args.batch_size=7"),
            "gpu-learning: batch_size 7 is per device: 2 devices train on batches of 14\n",
        ),
        (4, DIGITS, "train on batches of 128; --data.init_args.batch_size 8 keeps them at 32\n"),
    ],
)
def test_the_batch_of_all_devices_is_told(
    capsys: pytest.CaptureFixture[str],
    workplace: Path,
    devices: int,
    data: tuple[str, ...],
    said: str,
) -> None:
    from training.cli import TrainCLI

    spread = (f"--trainer.devices={devices}", "--trainer.strategy=ddp")
    cli = TrainCLI([*data, *spread], run=False)
    capsys.readouterr()
    cli.before_fit()
    told = capsys.readouterr().err
    assert told.endswith(said)
    assert bool(told) == bool(said)


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
        ("--trainer.callbacks+=callbacks.FiniteLoss", "under the key finite_loss; change the one"),
        ("--trainer.barebones=true", "logger=callbacks.tensorboard.CurvesLogger"),
        ("--trainer.callbacks+=EarlyStoping", "did you mean 'EarlyStopping'?"),
        ("--trainer.max_epoch=2", "there is no option 'trainer.max_epoch'; did you mean"),
        ("--trainer.log_every_n_steps=0", "log_every_n_steps must be at least 1"),
        ("--trainer.accumulate_grad_batches=0", "accumulate_grad_batches must be at least 1"),
        ("--data.init_args.batch_size=0", "batch_size must be at least 1"),
        ("--trainer.max_epochs=x", "error: --trainer.max_epochs: expected int, got x"),
        ("--data.init_args.batch_size=many", "error: --data.init_args.batch_size: expected int, g"),
        ("--model.lr=fast", "error: --model.lr: expected float, got fast"),
        ("--model.init_args.hiden=3", "--model.init_args.hiden; did you mean '--model.init_args.h"),
        ("--optimizer.lr=fast", "--optimizer.lr needs its class before it: --optimizer Adam --opt"),
        ("--lr_scheduler.step_size=2", "--lr_scheduler.step_size needs its class before it: --lr"),
        ("--trainer.precision=fp8", "error: --trainer.precision must be one of 16, 16-mixed, 16-"),
        ("--trainer.accelerator=gpuu", "got 'gpuu'; did you mean gpu?"),
        ("--trainer.strategy=dpd", "got 'dpd'; did you mean ddp?"),
        ("--trainer.gradient_clip_algorithm=nrom", "must be one of norm, value, got 'nrom'; did"),
        ("--trainer.profiler=simpel", "did you mean simple?"),
        ("--trainer.logger=x", "there is no class 'x'"),
        ("--trainer.devices=foo", "or their numbers as [0,1], got 'foo'"),
        ("--trainer.devices=0", "--trainer.devices must be auto, how many devices as"),
        ("--trainer.devices=null", "--trainer.devices must be auto, how many"),
        ("--trainer.devices=[0,1]", "the trainer cannot be built so"),  # without a GPU
        ("--trainer.devices=-1", "the trainer cannot be built so"),
        ("--trainer.devices=0,1", "the trainer cannot be built so"),
        ("--ckpt_path=configs", "does not exist, or is not a file"),
        ("--model.init_args.lr=.nan", "must be a number above 0, got lr nan"),
        ("--model.init_args.lr=-0.1", "must be a number above 0, got lr -0.1"),
        ("--model.init_args.num_classes=5", "has 10 classes, MNISTCNN tells 5 apart"),
        ("--trainer.callbacks+=callbacks.TextSamples", "TextSamples is for tokens"),
        ("--model=lightning_modules.MiniGPT", "MiniGPT is for tokens, and DigitsDataModule yields"),
        ("--data=datamodules.CharTextDataModule", "MNISTCNN is for images"),
    ],
)
def test_values_that_cannot_be(gpu_learning, option: str, expected: str) -> None:
    _, said = bad(gpu_learning, *DIGITS, option)
    assert expected in said


def test_a_wrong_argument_of_an_optimizer(gpu_learning) -> None:
    _, said = bad(gpu_learning, *DIGITS, "--optimizer=Adam", "--optimizer.lr=fast")
    assert said.endswith("error: --optimizer.lr: expected float, got fast")


@pytest.mark.parametrize("rate", ["0.01", "0.001"])
def test_a_rate_of_the_model_that_an_optimizer_replaces(gpu_learning, rate: str) -> None:
    _, said = bad(
        gpu_learning,
        *("fit", "-c", "configs/lr_schedules.yaml", "--model.init_args.lr", rate),
    )
    assert f"the model's lr {rate} has no effect" in said
    assert f"change that one with --optimizer.init_args.lr {rate}" in said


def test_a_run_that_was_refused_leaves_no_folder(gpu_learning, workplace: Path) -> None:
    options = ("--trainer.callbacks+=callbacks.StepLR", "--trainer.callbacks.step_size=2")
    _, said = bad(gpu_learning, *DIGITS, *options)
    assert "OneCycle and StepLR would both set the learning rate" in said
    assert not list(workplace.glob("logs/*"))
    others = workplace / "logs" / "digits_cnn" / "version_0"
    others.mkdir(parents=True)
    bad(gpu_learning, *DIGITS, *options)
    assert list(workplace.glob("logs/*/*")) == [others]


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_resume_that_was_refused_leaves_the_run_as_it_was(gpu_learning, workplace: Path) -> None:
    assert gpu_learning(*DIGITS, "--trainer.max_epochs=1")[0] == 0
    resume = "--ckpt_path=logs/digits_cnn/version_0/checkpoints/last.ckpt"
    files = {path: path.is_file() and path.read_bytes() for path in workplace.rglob("logs/**/*")}
    monitor = ("--trainer.max_epochs=1", "--checkpoint.monitor=val/lss")
    for options, message in (
        (["--trainer.max_epochs=2"], "the checkpoint's OneCycle ends after 40 steps"),
        (["--trainer.max_epochs=2", "--trainer.logger.version=7"], "OneCycle ends after 40 steps"),
        (monitor, "monitor 'val/lss' is not logged"),
    ):
        assert message in bad(gpu_learning, *DIGITS, resume, *options)[1]
        now = {path: path.is_file() and path.read_bytes() for path in workplace.rglob("logs/**/*")}
        assert now == files


@pytest.mark.parametrize("logger", ["TensorBoardLogger", "CSVLogger"])
def test_what_lightning_refuses_leaves_no_folder(
    gpu_learning, workplace: Path, logger: str
) -> None:
    options = ("--trainer.limit_train_batches=0.0001", f"--trainer.logger={logger}")
    _, said = bad(gpu_learning, *DIGITS, *options, "--trainer.logger.save_dir=logs")
    assert "0.0001" in said
    assert not (workplace / "logs").exists()


def test_yaml_that_holds_itself(gpu_learning, workplace: Path) -> None:
    (workplace / "loop.yaml").write_text("trainer: &all\n  max_epochs: 1\n  logger: *all\n")
    code, said = bad(gpu_learning, *DIGITS, "-c", "loop.yaml")
    assert code == 1
    assert "'logger' in the YAML is an alias of what it is itself part of" in said


def test_nested_aliases_are_bounded(gpu_learning, workplace: Path) -> None:
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (workplace / "bomb.yaml").write_text("\n".join(rows))
    began = time.perf_counter()
    code, said = bad(gpu_learning, *DIGITS, "-c", "bomb.yaml")
    assert code == 1
    assert "stands for more than 100,000 values" in said
    assert time.perf_counter() - began < 10


def test_nested_merges_are_bounded(gpu_learning, workplace: Path) -> None:
    rows = ["a0: &a0 {k: 1}"]
    rows += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 36)]
    (workplace / "merges.yaml").write_text("\n".join(rows))
    began = time.perf_counter()
    code, said = bad(gpu_learning, *DIGITS, "-c", "merges.yaml")
    assert code == 1
    assert "'<<' in the YAML copies more than 100,000 values" in said
    assert time.perf_counter() - began < 10


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


def built(*options: str):
    from training.cli import TrainCLI

    return TrainCLI([*DIGITS, *options], run=False)


def kinds(trainer: pl.Trainer) -> list[str]:
    return [type(callback).__name__ for callback in trainer.callbacks]  # type: ignore[attr-defined]


def test_one_argument_of_a_base_callback() -> None:
    cli = built("--checkpoint.monitor=val/loss", "--checkpoint.mode=min")
    assert kinds(cli.trainer).count("BestAndLast") == 1
    assert (cli.trainer.checkpoint_callback.monitor, cli.trainer.checkpoint_callback.mode) == (
        "val/loss",
        "min",
    )


def test_a_base_callback_is_taken_out() -> None:
    everything = set(kinds(built().trainer))
    assert everything - set(kinds(built("--throughput=null").trainer)) == {"Throughput"}
    # The Trainer's own switches are enough.
    assert "BestAndLast" not in kinds(built("--trainer.enable_checkpointing=false").trainer)


def test_the_progress_of_a_config_can_be_turned_off(gpu_learning) -> None:
    code, out, err = gpu_learning(
        "fit",
        "-c",
        "configs/line_regressor.yaml",
        "--trainer.max_epochs=1",
        "--trainer.enable_progress_bar=false",
    )
    assert code == 0, err
    assert "epoch 1/1" not in out


def test_two_callbacks_of_one_class(gpu_learning, workplace: Path) -> None:
    checkpoints = [
        {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
            "init_args": {"filename": name, "monitor": monitor, "save_top_k": 1},
        }
        for name, monitor in (("loss", "val/loss"), ("acc", "val/acc"))
    ]
    (workplace / "two.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": checkpoints}}))
    code, _, err = gpu_learning(*SHORT, "-c", "two.yaml")
    assert code == 0, err
    kept = {path.name for path in (workplace / "logs/digits_cnn/version_0/checkpoints").iterdir()}
    assert kept == {"acc.ckpt", "best.ckpt", "last.ckpt", "loss.ckpt"}


@pytest.mark.parametrize(
    "option", ["--trainer.callbacks.monitor=val_loss", "--trainer.limit_val_batches=0"]
)
def test_what_lightning_says_about_settings_is_one_sentence(gpu_learning, option: str) -> None:
    stop = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/loss", option]
    _, said = bad(gpu_learning, *SHORT, *stop)
    assert "Early stopping conditioned on metric" in said


def test_a_runtime_error_of_anything_else_keeps_its_traceback(gpu_learning) -> None:
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        gpu_learning(*SHORT, "--trainer.callbacks+=tests.scripts.spies.BadMatmul")


def test_an_optimizer_for_a_net_that_is_built_late(gpu_learning, workplace: Path) -> None:
    options = ["--trainer.max_epochs=1", "--data.batches=60", "--trainer.limit_val_batches=1"]
    code, _, err = gpu_learning(
        "fit",
        "-c",
        "configs/mini_gpt.yaml",
        *options,
        "--optimizer=torch.optim.SGD",
        "--optimizer.lr=0.5",
        "--trainer.callbacks=[]",
    )
    assert code == 0, err
    last = workplace / "logs/mini_gpt/version_0/checkpoints/last.ckpt"
    content = torch.load(last, weights_only=True)
    assert content["optimizer_states"][0]["param_groups"][0]["lr"] == 0.5
    _, said = bad(gpu_learning, "test", "-c", "configs/mini_gpt.yaml", "--trainer.callbacks=[]")
    assert "has no test_step, so it cannot test; use gpu-learning validate or" in said
    assert "gpu-learning generate" in said


def test_a_regressor_names_the_command_that_scores_it(gpu_learning) -> None:
    line = ["-c", "configs/line_regressor.yaml", "--trainer.max_epochs=100"]
    gpu_learning("fit", *line)
    _, said = bad(gpu_learning, "validate", *line)
    assert "so it cannot validate; use gpu-learning test" in said


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_loggers_history_stays(gpu_learning, workplace: Path) -> None:
    logger = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs"]
    logger += ["--trainer.logger.name=csv"]
    assert gpu_learning(*SHORT, *logger)[0] == 0
    path = workplace / "logs" / "csv" / "version_0" / "metrics.csv"
    fitted = rows(path)
    assert fitted
    assert gpu_learning("test", *SHORT[1:], *logger)[0] == 0
    tested = rows(path)
    assert len(tested) == len(fitted) + 1
    assert [row["val/acc"] for row in tested[:-1]] == [row["val/acc"] for row in fitted]
    assert tested[-1]["test/acc"]
    more = [*logger, "--trainer.max_epochs=2", "--ckpt_path=last"]
    assert gpu_learning(*SHORT, *more)[0] == 0
    resumed = rows(path)
    assert [row["test/acc"] for row in resumed[: len(tested)]] == [r["test/acc"] for r in tested]
    assert len(resumed) > len(tested)
    assert [path.name for path in path.parents[1].iterdir()] == ["version_0"]


def test_several_loggers_and_one_without_a_name(gpu_learning, workplace: Path) -> None:
    two = [
        {
            "class_path": f"lightning.pytorch.loggers.{name}",
            "init_args": {"save_dir": "logs", "name": "two"},
        }
        for name in ("TensorBoardLogger", "CSVLogger")
    ]
    (workplace / "two.yaml").write_text(yaml.safe_dump({"trainer": {"logger": two}}))
    for options, folder in (
        (["-c", "two.yaml"], "two"),
        (["--trainer.logger=true"], "lightning_logs"),
        (["--trainer.logger.init_args.name=null"], ""),
    ):
        assert gpu_learning(*SHORT, *options)[0] == 0
        runs = {path.name for path in (workplace / "logs" / folder).glob("version_*")}
        code, out, err = gpu_learning("test", *SHORT[1:], *options)
        assert code == 0, err
        assert "test/acc" in out
        assert {path.name for path in (workplace / "logs" / folder).glob("version_*")} == runs


def test_a_test_is_logged_at_its_checkpoints_step(gpu_learning, workplace: Path) -> None:
    gpu_learning(*SHORT, "--trainer.max_epochs=2")
    run = workplace / "logs" / "digits_cnn" / "version_0"
    step = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["global_step"]
    gpu_learning("test", *SHORT[1:])
    events = EventAccumulator(str(run)).Reload()
    assert [event.step for event in events.Scalars("test/acc")] == [step]
    assert "epoch" not in events.Tags()["scalars"]


def test_a_fit_ends_with_its_run_and_what_to_type_next(gpu_learning) -> None:
    code, out, _ = gpu_learning(*SHORT)
    assert code == 0
    assert "run: logs/digits_cnn/version_0" in out
    assert "best: logs/digits_cnn/version_0/checkpoints/best.ckpt (val/acc 0." in out
    commands = [line.split()[1:] for line in out.splitlines() if line.startswith("  gpu-learning")]
    assert commands[1] == ["export", "logs/digits_cnn/version_0"]
    code, out, err = gpu_learning(*commands[0])
    assert code == 0, err
    assert "test/acc" in out


def test_a_resumed_run_has_the_data_and_the_optimizer_of_its_first_part(gpu_learning) -> None:
    gpu_learning(*SHORT)
    resume = [*SHORT, "--trainer.max_epochs=2", "--ckpt_path=last"]
    for option, expected in (
        ("--data.init_args.rotate=3", "--data.init_args.rotate was 10.0, not 3.0"),
        ("--optimizer=torch.optim.SGD", "--optimizer.class_path was None, not torch.optim.SGD"),
    ):
        _, said = bad(gpu_learning, *resume, option)
        assert "belongs to a run with other settings" in said
        assert expected in said
    code, _, err = gpu_learning(*resume)
    assert code == 0, err
    assert "trainer.max_epochs is 2, it was 1 in version_0" in err


def test_the_config_of_a_resumed_run_starts_a_run_of_its_own(gpu_learning, workplace: Path) -> None:
    gpu_learning(*SHORT)
    gpu_learning(*SHORT, "--trainer.max_epochs=2", "--ckpt_path=last")
    config = workplace / "logs/digits_cnn/version_0/config.yaml"
    saved = yaml.safe_load(config.read_text())
    assert saved["trainer"]["max_epochs"] == 2
    assert saved["ckpt_path"] is None
    code, out, err = gpu_learning("fit", "-c", str(config))
    assert code == 0, err
    assert "run: logs/digits_cnn/version_1" in out


def test_another_runs_folder_is_not_written_into(gpu_learning) -> None:
    gpu_learning(*SHORT)
    _, said = bad(gpu_learning, *SHORT, "--trainer.logger.init_args.version=0")
    assert "logs/digits_cnn/version_0 holds the checkpoints of another run" in said


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
    # The schedule depends on max_epochs, so that only the run's own settings resume it.
    code, _, err = gpu_learning(*DIGITS, "-c", "spy.yaml", "--trainer.max_epochs=2")
    assert code == 130
    resume = err.partition("; to resume:\n  gpu-learning ")[2].splitlines()[0]
    assert resume == (
        "fit -c logs/digits_cnn/version_0/config.yaml "
        "--ckpt_path logs/digits_cnn/version_0/checkpoints/last.ckpt"
    )
    code, out, err = gpu_learning(*resume.split())
    assert code == 0, err
    assert "run: logs/digits_cnn/version_0\n" in out


def test_ctrl_c_before_a_checkpoint_promises_none(gpu_learning, workplace: Path) -> None:
    spy = {"class_path": "tests.scripts.spies.Interrupt"}
    (workplace / "spy.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [spy]}}))
    off = "--trainer.enable_checkpointing=false"
    code, _, err = gpu_learning(*DIGITS, "-c", "spy.yaml", "--trainer.max_epochs=2", off)
    assert code == 130
    assert "interrupted; no checkpoint was written, so there is nothing to resume\n" in err


def test_ctrl_c_before_a_step_resumes_no_other_run(
    gpu_learning, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu_learning(*SHORT)
    spy = {"class_path": "tests.scripts.spies.InterruptSetup"}
    (workplace / "spy.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [spy]}}))
    said = "interrupted; nothing was trained yet; start it again\n"
    code, _, err = gpu_learning(*SHORT, "-c", "spy.yaml")
    assert code == 130
    assert said in err
    # The same while torch is imported or the data is read.
    monkeypatch.setattr("training.cli.TrainCLI.__init__", _ctrl_c)
    code, _, err = gpu_learning(*SHORT)
    assert code == 130
    assert said in err


def _ctrl_c(*_: object) -> None:
    raise KeyboardInterrupt


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
    for near, meant in ((".", "best.ckpt"), ("last.ckpt", "last.ckpt")):
        _, said = bad(gpu_learning, *DIGITS, f"--ckpt_path={good.parent.parent / near}")
        assert f"did you mean {good.with_name(meant)}?" in said
    whole = good.read_bytes()
    damaged = workplace / "damaged.ckpt"
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (b"", b"not a checkpoint", whole[: len(whole) // 2], bytes(flipped)):
        damaged.write_bytes(content)
        _, said = bad(gpu_learning, *DIGITS, "--ckpt_path=damaged.ckpt")
        assert "cannot be read as a checkpoint of this project: it is cut off, damaged or" in said

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
