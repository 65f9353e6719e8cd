"""configs/schema.json: what it accepts, what it flags, what an editor proposes, and its age."""

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import get_loader

import callbacks
import datamodules
import lightning_modules
from tests.conftest import ROOT

jsonschema = pytest.importorskip("jsonschema", reason="the extra [dev] is not installed")

SCHEMA = json.loads((ROOT / "configs" / "schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
SHIPPED = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


def shipped(name: str) -> Any:
    return get_loader("yaml")((ROOT / "configs" / f"{name}.yaml").read_text())


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_fit_and_name_it(name: str) -> None:
    path = ROOT / "configs" / f"{name}.yaml"
    first = path.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=schema.json"
    errors = [
        f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(shipped(name))
    ]
    assert not errors


@pytest.mark.parametrize(
    "text",
    [
        "model: lightning_modules.MNISTMLP",
        "model: MNISTMLP",
        "model: {class_path: MNISTMLP, init_args: {lr: 1}}",
        "model: {class_path: mine.Net, init_args: {whatever: 1}}",
        "model: {init_args: {lr: 0.1}}",
        "optimizer: torch.optim.SGD",
        "optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1, momentum: 0.9}}",
        "lr_scheduler: {class_path: torch.optim.lr_scheduler.StepLR, init_args: {step_size: 2}}",
        "throughput: null",
        "throughput: {unit: tokens}",
        "throughput: {init_args: {unit: tokens}}",
        "throughput: {class_path: callbacks.Throughput, init_args: {unit: tokens}}",
        "checkpoint: {class_path: lightning.pytorch.callbacks.ModelCheckpoint}",
        "trainer: {logger: false}",
        "trainer: {logger: {name: a}}",
        "trainer: {callbacks: [{class_path: EarlyStopping, init_args: {monitor: val/loss}}]}",
        "trainer: {callbacks+: {class_path: callbacks.StepLR, init_args: {step_size: 2}}}",
        "trainer: {precision: bf16-mixed, devices: auto, max_time: {hours: 1}}",
        "data: {class_path: datamodules.MNISTDataModule, init_args: {classes+: [1]}}",
    ],
)
def test_other_forms_that_the_parser_takes_fit(text: str) -> None:
    assert VALIDATOR.is_valid(get_loader("yaml")(text)), text


SET, RENAME = "set", "rename"
FIRST = "trainer.callbacks+.0"
MUTATIONS = [
    # misspelled keys, at every depth
    ("digits_cnn", RENAME, "model", "modle"),
    ("digits_cnn", RENAME, "data", "date"),
    ("digits_cnn", RENAME, "trainer", "trainr"),
    ("digits_cnn", RENAME, "model.class_path", "clas_path"),
    ("digits_cnn", RENAME, "model.init_args", "init_arg"),
    ("digits_cnn", RENAME, "model.init_args.lr", "lrr"),
    ("digits_cnn", RENAME, "data.init_args.rotate", "rotation"),
    ("digits_cnn", RENAME, "data.init_args.shift", "shifts"),
    ("digits_cnn", RENAME, "trainer.max_epochs", "max_epoch"),
    ("digits_cnn", RENAME, "trainer.callbacks+", "callback+"),
    ("digits_cnn", RENAME, "trainer.logger.init_args", "args"),
    ("digits_cnn", RENAME, "trainer.logger.init_args.name", "nam"),
    ("digits_cnn", RENAME, f"{FIRST}.class_path", "class"),
    ("digits_cnn", RENAME, "trainer.callbacks+.3.init_args.every_n_epochs", "every"),
    ("dropout", RENAME, "checkpoint.every_n_epochs", "every_n_epoch"),
    ("dropout", RENAME, "throughput", "througput"),
    ("gpt2_lora", RENAME, "throughput.unit", "units"),
    ("gpt2_lora", RENAME, "checkpoint.monitor", "metric"),
    ("gpt2_lora", RENAME, "model.init_args.pretrained", "base"),
    ("lr_schedules", RENAME, "optimizer.init_args.lr", "learning_rate"),
    ("mini_gpt", RENAME, "trainer.gradient_clip_val", "gradient_clip"),
    ("mini_gpt", RENAME, "trainer.callbacks+.0.init_args.warmup_steps", "warmup"),
    ("mnist_fast", RENAME, "trainer.strategy.init_args.steps_per_turn", "steps_per_replay"),
    ("trainer", RENAME, "seed_everything", "seed"),
    ("trainer", RENAME, "rng_state.class_path", "path"),
    # wrong types
    ("digits_cnn", SET, "model.init_args.lr", "fast"),
    ("digits_cnn", SET, "model.init_args.lr", [0.1]),
    ("digits_cnn", SET, "data.init_args.rotate", "ten"),
    ("digits_cnn", SET, "data.init_args.rotate", None),
    ("digits_cnn", SET, "trainer.max_epochs", 1.5),
    ("digits_cnn", SET, "trainer.max_epochs", "many"),
    ("digits_cnn", SET, "trainer.log_every_n_steps", [10]),
    ("digits_cnn", SET, "trainer.callbacks+.3.init_args.every_n_epochs", 0.5),
    ("digits_cnn", SET, "trainer", ["max_epochs"]),
    ("digits_cnn", SET, "model", 3),
    ("digits_cnn", SET, "model.init_args", ["lr"]),
    ("dropout", SET, "model.init_args.hidden", [128, "128 units"]),
    ("dropout", SET, "checkpoint.every_n_epochs", "20 epochs"),
    ("mini_gpt", SET, "hparams.metrics", 5),
    ("gpt2_small", SET, "model.init_args.tied", "perhaps"),
    ("gpt2_small", SET, "model.init_args.betas", [0.9]),
    ("gpt2_small", SET, "model.init_args.betas", [0.9, 0.99, 0.999]),
    ("mnist_fast", SET, "trainer.enable_model_summary", "sometimes"),
    ("trainer", SET, "seed_everything", "zero"),
    ("trainer", SET, "weights_only", 7),
    # wrong choices
    ("digits_cnn", SET, "model.class_path", "lightning_modules.MNISTCN"),
    ("digits_cnn", SET, "model.class_path", "datamodules.DigitsDataModule"),
    ("digits_cnn", SET, "data.class_path", "datamodules.DigitDataModule"),
    ("digits_cnn", SET, f"{FIRST}.class_path", "callbacks.OneCycles"),
    ("digits_cnn", SET, f"{FIRST}", "OneCycles"),
    ("lr_schedules", SET, "optimizer.class_path", "torch.optim.Sgd"),
    ("lr_schedules", SET, "optimizer", "SDG"),
    ("mini_gpt_shakespeare", SET, "trainer.precision", "bf17-mixed"),
    ("mini_gpt_shakespeare", SET, "trainer.strategy.init_args.without_gpu", "maybe"),
    ("curve_regressor", SET, "model.init_args.activation", "rellu"),
    ("curve_regressor", SET, "data.init_args.curve", "cubic"),
    ("dropout", SET, "data.init_args.task", "hard"),
    ("gpt2_lora", SET, "throughput.unit", "words"),
    ("gpt2_lora", SET, "checkpoint.mode", "best"),
    ("trainer", SET, "trainer.logger.class_path", "lightning.pytorch.loggers.Tensorboard"),
    # an argument of another class
    ("mini_gpt_course", SET, "model.class_path", "lightning_modules.MNISTCNN"),
    ("digits_cnn", SET, "data.class_path", "datamodules.CharTextDataModule"),
    ("lr_schedules", SET, "optimizer.init_args.betas", [0.9, 0.99]),
    ("digits_cnn", SET, f"{FIRST}.init_args", {"warmup_steps": 3}),
]


def mutated(name: str, how: str, path: str, value: Any) -> tuple[Any, list[str]]:
    """The file with one mistake, and the keys above it."""
    tree = shipped(name)
    *above, last = path.split(".")
    node = tree
    for key in above:
        node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
    if how == RENAME:
        node[value] = node.pop(last)
    else:
        node[int(last) if isinstance(node, list) else last] = value
    return tree, above


@pytest.mark.parametrize(("name", "how", "path", "value"), MUTATIONS)
def test_a_mistake_is_flagged_where_it_is(name: str, how: str, path: str, value: Any) -> None:
    assert len(MUTATIONS) >= 50
    tree, above = mutated(name, how, path, value)
    errors = list(VALIDATOR.iter_errors(tree))
    assert errors
    # The branch of the tree that an editor underlines: the mistake, or what holds it.
    for error in errors:
        place = [str(key) for key in error.absolute_path]
        assert place[: len(above) - 2] == above[: len(place[: len(above) - 2])], error.message


def applying(schema: Any, value: Any) -> Iterator[dict[str, Any]]:
    """The schema and those below it that apply to ``value``, as an editor collects them."""
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield from applying(SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], value)
    yield schema
    for other in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
        yield from applying(other, value)
    if "if" in schema:
        whole = {"$defs": SCHEMA["$defs"], **schema["if"]}
        holds = jsonschema.Draft202012Validator(whole).is_valid(value)
        yield from applying(schema.get("then" if holds else "else"), value)


def proposed(document: Any, path: list[str]) -> set[str]:
    """Keys that may stand in ``document`` at ``path``."""
    schemas = list(applying(SCHEMA, document))
    for key in path:
        document = document[key]
        below = [one["properties"][key] for one in schemas if key in one.get("properties", {})]
        schemas = [found for one in below for found in applying(one, document)]
    return {key for one in schemas for key in one.get("properties", {})}


@pytest.mark.parametrize("name", lightning_modules.__all__)
def test_arguments_of_a_model_are_proposed(name: str) -> None:
    kind = getattr(lightning_modules, name)
    wanted = set(inspect.signature(kind).parameters) - {"kwargs"}
    for path in (f"lightning_modules.{name}", name):
        document = {"model": {"class_path": path, "init_args": {}}}
        assert proposed(document, ["model", "init_args"]) == wanted


def test_arguments_of_data_callbacks_and_optimizers_are_proposed() -> None:
    for key, kinds in (
        ("data", [getattr(datamodules, name) for name in datamodules.__all__]),
        ("trainer", [getattr(callbacks, name) for name in callbacks.__all__]),
    ):
        for kind in kinds:
            path = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
            if path not in SCHEMA["$defs"]:  # abstract, or no data module
                continue
            given = {"class_path": path, "init_args": {}}
            document = {key: given if key == "data" else {"callbacks": given}}
            place = [key, "init_args"] if key == "data" else [key, "callbacks", "init_args"]
            own = set(inspect.signature(kind).parameters) - {"kwargs"}
            assert own <= proposed(document, place), path
    document = {"optimizer": {"class_path": "SGD", "init_args": {}}}
    assert {"lr", "momentum", "nesterov"} <= proposed(document, ["optimizer", "init_args"])
    assert {"max_epochs", "callbacks", "callbacks+"} <= proposed({"trainer": {}}, ["trainer"])
    assert {"monitor", "mode", "init_args"} <= proposed({"checkpoint": {}}, ["checkpoint"])


def test_docs_defaults_and_choices_come_from_the_signatures() -> None:
    learning_rate = SCHEMA["$defs"]["lightning_modules.MNISTCNN"]["properties"]["lr"]
    assert learning_rate["description"] == "learning rate of Adam."
    assert learning_rate["default"] == 1e-3
    assert learning_rate["type"] == "number"
    trainer = SCHEMA["properties"]["trainer"]["properties"]
    assert trainer["max_epochs"]["default"] == 5  # that of configs/trainer.yaml
    assert "16-mixed" in json.dumps(trainer["precision"])


def ours(schema: dict[str, Any]) -> dict[str, Any]:
    """Arguments of this project's own classes, but of one that takes all of torch's DDP."""
    own = ("callbacks.", "datamodules.", "lightning_modules.", "training.")
    found = {key: value for key, value in schema["$defs"].items() if key.startswith(own)}
    return {key: value for key, value in found.items() if not key.endswith("DDPStrategy")}


@pytest.mark.slow
def test_the_file_is_what_the_command_writes(workplace: Path) -> None:
    """In a process of its own: classes that tests define are no part of it."""
    command = [sys.executable, "-m", "scripts.cli", "schema", "--out", str(workplace / "new.json")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    new = json.loads((workplace / "new.json").read_text())
    remedy = "gpu-learning schema --out configs/schema.json"
    assert ours(new) == ours(SCHEMA), remedy
    # What others' classes take changes with their versions, of which the locks name one.
    versions = [f"{name} {version(name)}" for name in ("jsonargparse", "lightning", "torch")]
    if all(one.split("+")[0] in SCHEMA["$comment"] for one in versions):
        assert new == SCHEMA, remedy


def test_classes_of_ones_own(gpu_learning, workplace: Path, monkeypatch) -> None:
    package = workplace / "of_my_own"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from lightning_modules import ImageClassifier\n\n\n"
        "class Mine(ImageClassifier):\n"
        '    """A net of mine.\n\n    Args:\n        width: of its layers.\n    """\n\n'
        "    def __init__(self, width: int = 3) -> None:\n        super().__init__(10, 0.1)\n"
    )
    monkeypatch.syspath_prepend(workplace)
    # As Lightning makes classes of optimizers, and the CUDA graph of modules: in no module.
    made = type(
        "Made", (lightning_modules.MNISTMLP,), {"__module__": "lightning_modules.mnist_mlp"}
    )
    code, out, err = gpu_learning("schema", "--import", "of_my_own")
    assert code == 0, err
    assert made.__name__ not in out
    width = json.loads(out)["$defs"]["of_my_own.Mine"]["properties"]["width"]
    assert width == {"type": "integer", "description": "of its layers.", "default": 3}
    validator = jsonschema.Draft202012Validator(json.loads(out))
    assert validator.is_valid({"model": {"class_path": "of_my_own.Mine"}})
    assert not validator.is_valid({"model": {"class_path": "of_my_own.Min"}})


def test_bad_input(gpu_learning, workplace: Path) -> None:
    code, _, err = gpu_learning("schema", "--import", "no_such_package")
    assert code == 1
    assert "the package no_such_package cannot be imported" in err
    code, _, err = gpu_learning("schema", "--out", "nowhere/schema.json")
    assert code == 1
    assert "there is no folder nowhere" in err
