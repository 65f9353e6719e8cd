"""Every final value and where it comes from."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_modules import MNISTCNN, MNISTMLP
from tests.helpers.commands import bad
from training.explain import Value, explain_config

DIGITS = "configs/digits_cnn.yaml"
TEXT = "configs/mini_gpt.yaml"


def explained(*options: str) -> dict[str, Value]:
    return {value.key: value for value in explain_config(options)}


def line_of(path: str, text: str) -> int:
    lines = Path(path).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_the_four_places(workplace: Path) -> None:
    values = explained("-c", DIGITS, "--trainer.max_epochs=3", "--model.label_smoothing", "0.1")
    rate = values["model.init_args.lr"]
    assert (rate.value, str(rate.source)) == (0.005, f"{DIGITS}:{line_of(DIGITS, 'lr: 0.005')}")
    epochs = values["trainer.max_epochs"]
    assert (epochs.value, epochs.origin) == (3, "command line")
    assert [(value, str(source)) for value, source in epochs.replaced] == [
        (60, f"{DIGITS}:{line_of(DIGITS, 'max_epochs')}"),
        (5, f"configs/trainer.yaml:{line_of('configs/trainer.yaml', 'max_epochs')}"),
    ]
    assert values["model.init_args.label_smoothing"].origin == "command line"
    assert values["seed_everything"].origin.startswith("configs/trainer.yaml:")
    assert values["trainer.logger.init_args.name"].origin.startswith(f"{DIGITS}:")
    assert values["trainer.logger.init_args.save_dir"].origin.startswith("configs/trainer.yaml:")
    assert values["model.init_args.hidden"].origin == "default of lightning_modules.MNISTCNN"
    assert values["trainer.precision"].origin == "default of Trainer"
    defaults = inspect.signature(MNISTCNN).parameters
    for key, value in values.items():
        if key.startswith("model.init_args.") and value.source is None:
            default = defaults[key.rpartition(".")[2]].default
            assert value.value == (list(default) if isinstance(default, tuple) else default)


@pytest.mark.parametrize("name", ["digits_cnn", "dropout", "gpt2_small", "mnist_cnn_fast"])
def test_each_value_of_a_file_is_found_at_its_line(name: str, workplace: Path) -> None:
    path = f"configs/{name}.yaml"
    lines = Path(path).read_text().splitlines()
    found = [
        value for value in explained("-c", path).values() if str(value.source).startswith(path)
    ]
    for value in found:
        line = lines[value.source.line - 1]
        assert value.key.rpartition(".")[2] in line or str(value.value) in line, value
    # And every line of the file that sets something is named.
    sets = {n for n, line in enumerate(lines, 1) if line[:1] != "#" and not line.endswith(":")}
    comments = {n for n in sets if lines[n - 1].lstrip().startswith("#")}
    assert sets - comments == {value.source.line for value in found}


def test_lists_of_callbacks(workplace: Path) -> None:
    values = explained(
        *("-c", DIGITS),
        *("--trainer.callbacks+=callbacks.StepLR", "--trainer.callbacks.step_size=2"),
        "--trainer.callbacks.gamma=0.5",
    )
    assert values["trainer.callbacks.0.class_path"].origin.startswith(DIGITS)
    assert values["trainer.callbacks.4.class_path"].origin == "command line"
    assert values["trainer.callbacks.4.init_args.step_size"].origin == "command line"
    assert values["trainer.callbacks.3.init_args.every_n_epochs"].origin.startswith(DIGITS)
    default = "default of callbacks.ConfusionMatrixFigure"
    assert {v.origin for k, v in values.items() if k.startswith("trainer.callbacks.2.init")} <= {
        default
    }


def test_another_class_leaves_what_it_takes(workplace: Path) -> None:
    values = explained("-c", DIGITS, "--model", "MNISTMLP")
    assert values["model.class_path"].value == "lightning_modules.MNISTMLP"
    assert values["model.class_path"].origin == "command line"
    # jsonargparse keeps those arguments of the class before that the new one has, too.
    kept = values["model.init_args.lr"]
    default = inspect.signature(MNISTMLP).parameters["lr"].default
    assert (kept.value, kept.source is None) in ((0.005, False), (default, True))


def test_later_files_and_values_in_yaml(workplace: Path) -> None:
    Path("mine.yaml").write_text("trainer: {max_epochs: 7}\nmodel:\n  init_args:\n    lr: 1e-2\n")
    values = explained("-c", DIGITS, "-c", "mine.yaml", "--throughput={unit: tokens}")
    assert (values["model.init_args.lr"].value, values["model.init_args.lr"].origin) == (
        0.01,
        "mine.yaml:4",
    )
    assert values["trainer.max_epochs"].origin == "mine.yaml:1"
    assert values["throughput.init_args.unit"].origin == "command line"
    values = explained("-c", DIGITS, "-c", "{trainer: {max_epochs: 2}}")
    assert values["trainer.max_epochs"].origin == "command line"


def test_a_callback_taken_out(workplace: Path) -> None:
    values = explained("-c", DIGITS, "--throughput=null", "--trainer.logger=false")
    assert (values["throughput"].value, values["throughput"].origin) == (None, "command line")
    assert (values["trainer.logger"].value, values["trainer.logger"].origin) == (
        False,
        "command line",
    )


def test_the_command(gpu_learning: Callable[..., tuple[int, str, str]], workplace: Path) -> None:
    options = ("-c", DIGITS, "--trainer.max_epochs=3")
    code, out, err = gpu_learning("config", "explain", *options, "--json")
    assert code == 0, err
    rows = {row["key"]: row for row in json.loads(out)}
    assert rows["trainer.max_epochs"] == {
        "key": "trainer.max_epochs",
        "value": 3,
        "from": "command line",
        "line": None,
        "of": "Trainer",
        "instead_of": [
            {"value": 60, "from": DIGITS, "line": line_of(DIGITS, "max_epochs")},
            {
                "value": 5,
                "from": "configs/trainer.yaml",
                "line": line_of("configs/trainer.yaml", "max_epochs"),
            },
        ],
    }
    code, out, _ = gpu_learning("config", "explain", *options, "--set")
    assert code == 0
    assert "default of" not in out
    line = next(line for line in out.splitlines() if line.startswith("trainer.max_epochs"))
    assert line.split(maxsplit=2)[1:] == [
        "3",
        f"command line, instead of 60 from {DIGITS}:{line_of(DIGITS, 'max_epochs')}, 5 from "
        f"configs/trainer.yaml:{line_of('configs/trainer.yaml', 'max_epochs')}",
    ]
    assert not Path("logs").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-c", DIGITS, "--trainer.max_epoch=3"], "did you mean 'trainer.max_epochs'?"),
        (["-c", "configs/digit_cnn.yaml"], "did you mean configs/digits_cnn.yaml?"),
        (["-c", TEXT, "--data.init_args.block_size=64"], "mean '--data.init_args.context'?"),
        (["-c", TEXT, "--model.init_args.n_head=2"], "did you mean '--model.init_args.heads'?"),
        (["-c", DIGITS, "--model.init_args.lr=fast"], "lr"),
        (["-c", DIGITS, "--lr_scheduler=ConstantLR"], "lr_scheduler"),
        (["--trainer.max_epochs=3", "-c", DIGITS], f"{DIGITS} comes after"),
        ([], "a model and its data are needed"),
    ],
)
def test_bad_input(gpu_learning, options: list[str], said: str) -> None:
    assert said in bad(gpu_learning, "config", "explain", *options)[1]


def test_wrong_usage(gpu_learning) -> None:
    code, _, err = gpu_learning("config", "expain")
    assert code == 2
    assert "explain" in err
