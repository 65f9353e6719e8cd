"""What is deferred is decided once per process: each case runs in one of its own.

The process of the tests imported everything as Lightning does, so it is what they compare with.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.deferred_imports import EAGER

INSTALL = "import sys; from scripts.deferred_imports import install; install()\n"
HEAVY = ("scipy", "sympy", "torchvision", "transformers", "torch._inductor", "torch._dynamo.utils")
# What a user may ask for, in an order in which an earlier line leaves the next ones deferred.
ASKED = """
import lightning.pytorch
import torchmetrics as t
say(t.Accuracy.__name__, t.MeanMetric.__module__, t.__version__)
from torchmetrics.functional import accuracy
say(accuracy.__module__)
say(t.functional.squad.__module__)
from torch.distributed.tensor import DTensor
say(isinstance(1, DTensor), issubclass(int, DTensor))
say(DTensor.from_local.__name__)
from torch.distributed.tensor.placement_types import Shard
say(Shard(0))
import torch
import torch._dynamo.config as config
say(config is torch._dynamo.config)
import torch._dynamo.utils as utils
say(utils is torch._dynamo.utils, torch._dynamo.explain.__module__)
say(t.functional.image.total_variation.__module__)
say(hasattr(t, "nothing"), "Accuracy" in dir(t))
from torchmetrics import SQuAD, MetricCollection
say(SQuAD.__module__, MetricCollection.__module__)
"""
COMPILED = """
import torch
import lightning.pytorch
from lightning.pytorch.utilities.compile import OptimizedModule

torch.manual_seed(0)
net = torch.nn.Linear(3, 1)
optimizer = torch.optim.Adam(net.parameters())  # before anything is compiled
say(isinstance(net, OptimizedModule))
compiled = torch.compile(net, backend="aot_eager")
say(isinstance(compiled, OptimizedModule))


def step():
    optimizer.zero_grad()
    compiled(torch.ones(2, 3)).sum().backward()
    optimizer.step()


step()
torch.compile(step, backend="aot_eager")()
say(net.weight.tolist())
"""


def deferred(code: str, **environment: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{INSTALL}say = print\n{code}"],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def here(code: str) -> str:
    lines: list[str] = []
    names: dict[str, Any] = {"say": lambda *values: lines.append(" ".join(map(str, values)))}
    exec(code, names)
    return "\n".join(lines) + "\n"


def test_lightning_does_without_what_it_does_not_use() -> None:
    code = f"import lightning.pytorch; say([n for n in {HEAVY} if n in sys.modules])"
    assert deferred(code) == "[]\n"


def test_it_can_be_turned_off() -> None:
    code = "say(type(sys.meta_path[0]).__module__)"
    assert deferred(code) == "scripts.deferred_imports\n"
    assert deferred(code, **{EAGER: "1"}) != "scripts.deferred_imports\n"


@pytest.mark.slow
def test_everything_is_there_when_it_is_asked_for() -> None:
    assert deferred(ASKED) == here(ASKED)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "torch._dynamo.config",
        "torch._dynamo.decorators",
        "torch._dynamo.eval_frame",
        "torch._dynamo.exc",
        "torch._dynamo.variables.builder",
        "torch.distributed.tensor._api",
        "torch.distributed.tensor.placement_types",
        "torchmetrics.image",
        "torchvision",
    ],
)
def test_what_is_asked_for_first_runs_once(name: str) -> None:
    code = """
import collections, importlib, importlib.machinery
ran, kind = collections.Counter(), importlib.machinery.SourceFileLoader
run = kind.exec_module
kind.exec_module = lambda self, module: (ran.update([module.__name__]), run(self, module))[1]
import lightning.pytorch, torch
module = importlib.import_module(%r)
import torch._dynamo.convert_frame as frame, torch._dynamo.utils as utils
torch.compile(torch.nn.Linear(2, 2), backend="eager")(torch.ones(1, 2))
ours = ("torch._dynamo", "torch.distributed", "torchmetrics", "torchvision")
twice = [n for n, times in ran.items() if times > 1 and n.startswith(ours)]
say(twice, frame.counters is utils.counters)
say(utils.counters["stats"]["unique_graphs"], module is sys.modules[module.__name__])
"""
    assert deferred(code % name) == "[] True\n1 True\n"


@pytest.mark.slow
def test_a_compiled_module_is_known_as_one_and_steps_as_ever() -> None:
    assert deferred(COMPILED) == here(COMPILED)


@pytest.mark.slow
def test_a_run_ends_with_the_same_weights(workplace: Path, gpu_learning) -> None:
    command = ["fit", "-c", "configs/digits_cnn.yaml", "--trainer.max_epochs=2"]
    command.append("--trainer.logger.init_args.name")
    assert gpu_learning(*command, "here")[0] == 0
    code = "from scripts.cli import main; sys.exit(main(%s))"
    deferred(code % [*command, "deferred"])
    runs = [workplace / "logs" / name / "version_0" for name in ("here", "deferred")]
    last = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in runs]
    weights = [checkpoint["state_dict"] for checkpoint in last]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
