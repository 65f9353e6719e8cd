from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="needs the extra sweep")
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tests.conftest import ROOT
from training.sweep.space import Pruning, decoded, read_sweep

GOOD = {"config": "configs/digits_cnn.yaml", "space": "{model.lr: {low: 0.1, high: 1.0}}"}


def written(**keys: str) -> Path:
    Path("sweep.yaml").write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))
    return Path("sweep.yaml")


def test_the_shipped_one(workplace: Path) -> None:
    sweep = read_sweep(ROOT / "configs" / "sweeps" / "digits_cnn.yaml")
    assert sweep.configs == ("configs/digits_cnn.yaml",)
    assert sweep.pruning == Pruning(startup_trials=5, warmup_epochs=4)
    assert len(sweep.corners()) == 3


def test_kinds_of_entries(workplace: Path) -> None:
    space = (
        "{a: {low: 1, high: 8}, b: {low: 1.0e-4, high: 0.1, log: true}, c: {choices: [x, y]}, "
        "d: {low: 16, high: 64, step: 16}, e: {choices: [[8, 16], [16, 32]]}, "
        "f: {low: 0, high: 1, step: 0.25}, g: {choices: [null, 1.0]}}"
    )
    sweep = read_sweep(written(**GOOD | {"space": space}))
    kinds = [type(one) for one in sweep.space.values()]
    assert kinds == [
        *(IntDistribution, FloatDistribution, CategoricalDistribution, IntDistribution),
        *(CategoricalDistribution, FloatDistribution, CategoricalDistribution),
    ]
    assert decoded({"e": "[8, 16]", "c": "x", "a": 3}) == {"e": [8, 16], "c": "x", "a": 3}
    first, last = sweep.corners()
    assert (first["a"], last["a"], last["e"], first["g"]) == (1, 8, [16, 32], None)
    assert sweep.arguments({"e": [8, 16], "b": 1e-4, "c": "x", "g": None}, 7) == [
        *("-c", "configs/digits_cnn.yaml", "--e=[8, 16]", "--b=0.0001", "--c=x", "--g=null"),
        *("--checkpoint.monitor=val/acc", "--checkpoint.mode=max", "--seed_everything=7"),
    ]


def test_what_makes_trials_comparable(workplace: Path) -> None:
    one = read_sweep(written(**GOOD, trials="3"))
    assert one.identity() == read_sweep(written(**GOOD, trials="30")).identity()
    for change in (
        {"space": "{model.lr: {low: 0.2, high: 1.0}}"},
        {"metric": "val/loss"},
        {"seeds": "[1]"},
        {"options": "{trainer.max_epochs: 1}"},
    ):
        assert one.identity() != read_sweep(written(**GOOD | change)).identity()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space": "{}"}, "space is empty"),
        ({"space": "null"}, "space is empty"),
        ({"space": "[model.lr]"}, "space is empty"),
        ({"spaces": "{}"}, "there is no key 'spaces'; did you mean space?"),
        ({"mode": "best"}, "mode must be max or min, got 'best'"),
        ({"metric": "3"}, "metric must be the name"),
        ({"trials": "0"}, "trials must be a whole number of at least 1"),
        ({"trials": "many"}, "trials must be a whole number"),
        ({"seeds": "[]"}, "seeds must be a list of different"),
        ({"seeds": "[1, 1]"}, "seeds must be a list of different"),
        ({"seeds": "[a]"}, "seeds must be a whole number"),
        ({"pruning": "{startup: 1}"}, "there is no key 'startup'; did you mean startup_trials?"),
        ({"pruning": "median"}, "pruning must be null or {startup_trials: 5"),
        ({"config": "3"}, "config must be a file"),
        ({"options": "[a]"}, "options must be a mapping"),
        ({"options": "{model.lr: 0.1}"}, "model.lr is in space and in options"),
        ({"space": "{seed_everything: {low: 0, high: 9}}"}, "set by the sweep"),
        ({"space": "{model.lr: 0.1}"}, "must be {low: A, high: B} or {choices"),
        ({"space": "{model.lr: {low: 1.0, high: 0.1}}"}, "low must be below high"),
        ({"space": "{model.lr: {low: 1e-3, high: 0.1}}"}, "write 1.0e-3"),
        ({"space": "{model.lr: {low: 0.1}}"}, "high must be a number, got None"),
        ({"space": "{model.lr: {lo: 0.1, high: 1}}"}, "there is no key 'lo'; did you mean low?"),
        ({"space": "{model.lr: {low: 0.0, high: 1.0, log: true}}"}, "model.lr: "),
        ({"space": "{model.lr: {low: 0, high: 1.5, log: 3}}"}, "log must be true or false"),
        ({"space": "{model.lr: {choices: []}}"}, "choices must be a list"),
        ({"space": "{model.lr: {choices: [1, 1]}}"}, "choices must be different"),
        ({"space": "{model.lr: {choices: [1], low: 0}}"}, "choices must be a list, and stand"),
        ({"space": "{a: [}"}, "sweep.yaml is not YAML (line 2, column 13: expected the node"),
    ],
)
def test_bad_files(change: dict[str, str], said: str, workplace: Path) -> None:
    with pytest.raises(ValueError, match=r"sweep\.yaml") as error:
        read_sweep(written(**GOOD | change))
    assert said in str(error.value)


def test_files_that_are_none(workplace: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no sweep file nowhere\.yaml"):
        read_sweep(Path("nowhere.yaml"))
    Path("list.yaml").write_text("[1]")
    with pytest.raises(ValueError, match="a sweep is a mapping"):
        read_sweep(Path("list.yaml"))
    Path("no.yaml").write_text("space: {a: {low: 0, high: 1}}")
    with pytest.raises(ValueError, match="the key config is missing"):
        read_sweep(Path("no.yaml"))
