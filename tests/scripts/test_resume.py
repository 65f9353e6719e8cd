"""Runs ended at random moments, however, resume to the weights of a run in one go.

Each run is a fork, so that it can be killed and need not import torch again.
``GPU_LEARNING_POINTS`` is how many moments are tried for each model and way to end.
"""

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.helpers.forks import in_a_fork

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]
POINTS = int(os.environ.get("GPU_LEARNING_POINTS", "1"))
DIGITS = ("--data=datamodules.DigitsDataModule", "--data.init_args.val_size=100")
QUIET = (
    *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
    "--trainer.logger.init_args.log_graph=false",
)
CALLBACKS = {
    "checkpoint": {"monitor": "val/loss", "mode": "min", "every_n_steps": 7},
    "trainer": {
        "callbacks": [
            {
                "class_path": "callbacks.StepLR",
                "init_args": {"step_size": 10, "gamma": 0.9, "interval": "step"},
            }
        ]
    },
}


class Runs:
    """Runs of one experiment in the current folder."""

    def __init__(self, *arguments: str) -> None:
        Path("callbacks.yaml").write_text(yaml.safe_dump(CALLBACKS))
        self.arguments = (*arguments, "-c", "callbacks.yaml", *QUIET)
        assert self.fit("whole") == 0, Path("whole.log").read_text()
        self.expected = last("whole")
        run = next(Path("logs/whole").iterdir())
        ends = (run / "checkpoints" / "last.ckpt").stat().st_mtime
        self.seconds = ends - (run / "config.yaml").stat().st_mtime  # written before the training

    def fit(self, name: str, *options: str, **end: Any) -> int:
        Path("end.yaml").write_text(yaml.safe_dump({"trainer": end}))
        arguments = [*self.arguments, f"--trainer.logger.init_args.name={name}", *options]
        arguments += ["-c", "end.yaml"]
        return in_a_fork(["fit", *arguments], Path(f"{name}.log"))

    def ends_as_expected(self, name: str) -> None:
        """Resumes the run ``name`` and compares its weights with those of the run in one go."""
        log = Path(f"{name}.log")
        if list(Path("logs", name).glob("*/checkpoints/last.ckpt")):
            assert self.fit(name, "--ckpt_path=last") == 0, log.read_text()
        else:
            assert self.fit(name) == 0, log.read_text()  # it was killed before the first write
        found = last(name)
        assert found["global_step"] == self.expected["global_step"]
        for key, weights in self.expected["state_dict"].items():
            assert torch.equal(found["state_dict"][key], weights), key


def spy(name: str, **arguments: Any) -> dict[str, Any]:
    callback = {"class_path": f"tests.scripts.spies.{name}", "init_args": arguments}
    return {"callbacks+": [callback]}


def last(name: str) -> dict[str, Any]:
    paths = Path("logs", name).glob("*/checkpoints/last.ckpt")
    return torch.load(max(paths, key=os.path.getmtime), weights_only=True)


@pytest.fixture
def experiment(request: pytest.FixtureRequest, workplace: Path) -> Runs:
    short = ("--trainer.max_epochs=3", "--trainer.val_check_interval=0.5")
    if request.param == "digits":
        return Runs("-c", "configs/digits_cnn.yaml", *short)
    if request.param == "data_loader":
        return Runs("-c", "configs/digits_cnn.yaml", "--data.init_args.resident=false", *short)
    if request.param == "transfer":
        Runs("-c", "configs/digits_cnn.yaml", "--trainer.max_epochs=1")
        path = next(Path("logs/whole").glob("*/checkpoints/last.ckpt")).rename("backbone.ckpt")
        Path("logs/whole").rename("logs/backbone")
        return Runs(
            *("-c", "configs/transfer.yaml", f"--model.init_args.backbone={path}", *DIGITS, *short),
            *("--model.init_args.unfreeze_after=1", "--data.init_args.batch_size=16"),
        )
    if request.param == "mini_gpt":
        return Runs("-c", "configs/mini_gpt.yaml", "--data.init_args.batches=60", *short)
    base = request.getfixturevalue("gpt2_base")
    return Runs(
        *("-c", "configs/gpt2_lora_offline.yaml", f"--model.init_args.pretrained={base}", *short),
        *("--trainer.num_sanity_val_steps=0", "--data.init_args.batch_size=2"),
        "--data.init_args.context=160",
    )


@pytest.mark.parametrize(
    "experiment",
    ["digits", "data_loader", "transfer", "mini_gpt", "gpt2_lora"],
    indirect=True,
)
def test_ended_and_resumed_is_bit_identical(experiment: Runs) -> None:
    chance = random.Random(0)
    steps = experiment.expected["global_step"]
    ended: dict[str, list[int]] = {}
    for point in range(POINTS):
        step = chance.randrange(1, steps - 10)
        late = {"step": step, "seconds": chance.uniform(0, 0.05)}
        limit = {"milliseconds": int(1000 * chance.uniform(0.1, 0.7) * experiment.seconds)}

        ways = {
            "kill": spy("SignalAfter", **late, number=9),
            "term": spy("SignalAfter", **late, number=15),
            "ctrl-c": spy("SignalAfter", **late, number=2),
            "max_time": {"max_time": limit},
            "max_steps": {"max_steps": step},
            "stop": spy("StopAt", hook="on_train_batch_end", step=step),
            "early-stop": spy("StopAt", hook="on_validation_end", step=step),
        }
        for way, end in ways.items():
            name = f"{way}-{point}"
            code = experiment.fit(name, **end)
            codes = {"kill": -signal.SIGKILL, "term": 130, "ctrl-c": 130}
            assert code in (0, codes.get(way)), Path(f"{name}.log").read_text()
            if list(Path("logs", name).glob("*/checkpoints/last.ckpt")):
                ended.setdefault(way, []).append(last(name)["global_step"])
            experiment.ends_as_expected(name)
    print(f"{steps} steps; resumed at {ended}")
    for way in ("max_steps", "stop", "term"):
        assert max(ended[way]) < steps, way
