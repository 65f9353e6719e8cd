"""Runs in processes of their own: killed ones that go on, and several that share the work."""

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from datamodules import DigitsDataModule
from tests.helpers.commands import DIGITS, weights
from tests.scripts.spies import fingerprint


def in_process_of_its_own(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_killed_and_resumed_is_bit_identical(workplace: Path) -> None:
    """Killed in the middle of the second epoch, ten steps after the last checkpoint."""
    often = workplace / "often.yaml"
    often.write_text(
        yaml.safe_dump({"checkpoint": {"every_n_steps": 25}, "trainer": {"callbacks": []}})
    )
    kill = {"class_path": "tests.scripts.spies.KillAt", "init_args": {"step": 60}}
    (workplace / "kill.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [kill]}}))
    long = (*DIGITS, "-c", "often.yaml", "--trainer.max_epochs=3")

    killed = in_process_of_its_own(*long, "-c", "kill.yaml")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run = workplace / "logs" / "digits_cnn" / "version_0" / "checkpoints"
    assert torch.load(run / "last.ckpt", weights_only=True)["global_step"] == 50
    resumed = in_process_of_its_own(*long, "--ckpt_path=last")
    assert resumed.returncode == 0, resumed.stderr
    assert "warn" not in resumed.stderr.lower()

    whole = in_process_of_its_own(*long, "--trainer.logger.init_args.name=whole")
    assert whole.returncode == 0, whole.stderr
    expected = weights(workplace / "logs" / "whole" / "version_0" / "checkpoints" / "last.ckpt")
    got = weights(run / "last.ckpt")
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    best = weights(run / "best.ckpt")
    expected = weights(workplace / "logs" / "whole" / "version_0" / "checkpoints" / "best.ckpt")
    assert all(torch.equal(best[name], expected[name]) for name in expected)


def two_agents(*arguments: str) -> list[subprocess.CompletedProcess[str]]:
    """A ``gpu-learning`` command as torchrun starts it on two nodes, here both on the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1"),
        *("--rdzv_backend=c10d", f"--rdzv_endpoint={endpoint}", "--local_addr=127.0.0.1"),
        *("-m", "scripts.cli", *arguments, "--trainer.num_nodes=2", "--trainer.strategy=ddp"),
    ]
    with ThreadPoolExecutor(2) as nodes:
        run = partial(subprocess.run, capture_output=True, text=True, timeout=300)
        return list(nodes.map(run, [command, command]))


@pytest.mark.slow
def test_two_torchrun_nodes_end_and_resume_together(workplace: Path) -> None:
    """SIGTERM to the process of one node: both keep the same step, and resume bit for bit."""
    fit = (*DIGITS, "--trainer.max_epochs=3")
    spy = {"class_path": "tests.scripts.spies.TermLastRank", "init_args": {"step": 30}}
    (workplace / "term.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [spy]}}))
    nodes = two_agents(*fit, "-c", "term.yaml")
    for node in nodes:
        assert node.returncode == 1, node.stderr
        assert "gpu-learning: interrupted" in node.stderr
        # Where torchrun's first agent is gone sooner, the other reports that, not its process.
        assert "exitcode  : 130" in node.stderr or "RendezvousConnectionError" in node.stderr
    assert any("exitcode  : 130" in node.stderr for node in nodes)
    last = workplace / "logs" / "digits_cnn" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 30
    for node in two_agents(*fit, "--ckpt_path=last"):
        assert node.returncode == 0, node.stderr
    # The same on one node, in one go.
    spread = ("--trainer.devices=2", "--trainer.strategy=ddp")
    whole = in_process_of_its_own(*fit, *spread, "--trainer.logger.init_args.name=whole")
    assert whole.returncode == 0, whole.stderr
    got = weights(last)
    expected = weights(workplace / "logs" / "whole" / "version_0" / "checkpoints" / "last.ckpt")
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def needs_two_gpus(device: str) -> None:
    if device == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA GPUs")


@pytest.mark.slow
def test_two_processes_are_one_of_twice_the_batch(
    workplace: Path, gpu_learning, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """On GPUs the steps are graphs, with the averaging of the gradients in them."""
    needs_two_gpus(device)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")  # sums of float32, in whatever order

    def options(folder: Path) -> tuple[str, ...]:
        folder.mkdir()
        spy = {"class_path": "tests.scripts.spies.ListImages", "init_args": {"folder": str(folder)}}
        (folder / "spy.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [spy]}}))
        still = [f"--data.init_args.{name}=0" for name in ("rotate", "shift", "zoom")]
        # 1,257 images are 19 batches of 2 x 32 and 41 more, which two cannot share evenly.
        limits = ("--trainer.max_epochs=3", "--trainer.limit_train_batches=19")
        return (*DIGITS, "-c", str(folder / "spy.yaml"), *still, *limits)

    two, one = workplace / "two", workplace / "one"
    spread = (
        "--trainer.devices=2",
        "--trainer.strategy=" + ("cuda_graph_ddp" if device == "cuda" else "ddp"),
    )
    fit = in_process_of_its_own(*options(two), *spread)
    assert fit.returncode == 0, fit.stderr
    assert fit.stderr.count("batch_size 32 is per device: 2 devices train on batches of 64;") == 1
    alone = ("--data.init_args.batch_size=64",)
    code, _, err = gpu_learning(*options(one), *alone)
    assert code == 0, err

    shares = [torch.load(two / f"train-{rank}.pt").reshape(3, -1) for rank in (0, 1)]
    expected = torch.load(one / "train-0.pt").reshape(3, -1)
    for epoch in range(3):
        seen = torch.cat([share[epoch] for share in shares])
        assert len(seen.unique()) == len(seen) == 19 * 64
        assert torch.equal(seen.sort().values, expected[epoch].sort().values)
    first, second = (torch.load(two / f"weights-{rank}.pt", map_location="cpu") for rank in (0, 1))
    whole = torch.load(one / "weights-0.pt", map_location="cpu")
    for name, value in whole.items():
        assert torch.equal(first[name], second[name]), name
        assert (first[name] - value).abs().max() < 1e-4, name


@pytest.mark.slow
def test_two_processes_share_the_images(workplace: Path, gpu_learning) -> None:
    spy = {"class_path": "tests.scripts.spies.ListImages", "init_args": {"folder": str(workplace)}}
    (workplace / "spy.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [spy]}}))
    two = ("--trainer.devices=2", "--trainer.strategy=ddp")
    still = [f"--data.init_args.{name}=0" for name in ("rotate", "shift", "zoom")]
    fit = in_process_of_its_own(*DIGITS, "-c", "spy.yaml", *two, *still, "--trainer.max_epochs=1")
    assert fit.returncode == 0, fit.stderr
    test = in_process_of_its_own(
        "test", *DIGITS[1:], "-c", "spy.yaml", *two, "--data.init_args.eval_batch_size=97"
    )
    assert test.returncode == 0, test.stderr

    data = DigitsDataModule()
    data.setup("fit")
    data.setup("test")
    for stage in ("train", "test"):
        shares = [torch.load(workplace / f"{stage}-{rank}.pt") for rank in (0, 1)]
        expected = fingerprint(data._splits[stage][0])
        assert torch.equal(torch.cat(shares).sort().values, expected.sort().values)
        assert abs(len(shares[0]) - len(shares[1])) <= 1
    code, out, _ = gpu_learning("test", *DIGITS[1:])
    assert code == 0

    def accuracy(text: str) -> str:
        return next(line for line in text.splitlines() if "test/acc " in line).split()[-2]

    assert accuracy(out) == accuracy(test.stdout)


@pytest.mark.slow
def test_sharded_over_two_processes_is_one_of_twice_the_batch(
    workplace: Path, gpu_learning, device: str
) -> None:
    """Weight decay of the matrices and clipping by the norm of all shards included."""
    needs_two_gpus(device)
    fit = (
        *("fit", "-c", "configs/mini_gpt.yaml"),
        *("--trainer.max_epochs=1", "--trainer.limit_train_batches=60"),
        *("--trainer.gradient_clip_val=0.2", "--model.init_args.tied=true"),
        "--model.init_args.weight_decay=0.5",
        "--model.init_args.vocab_size=15",  # made where it is asked for, from the same numbers
    )
    spread = (
        *("--trainer.devices=2", "--data.init_args.batch_size=16"),
        "--trainer.strategy=lightning.pytorch.strategies.ModelParallelStrategy",
        "--trainer.strategy.init_args.data_parallel_size=2",
        "--trainer.strategy.init_args.tensor_parallel_size=1",
        "--trainer.strategy.init_args.save_distributed_checkpoint=false",
    )
    two = in_process_of_its_own(*fit, *spread, "--trainer.logger.init_args.name=two")
    assert two.returncode == 0, two.stderr
    code, _, err = gpu_learning(*fit, "--data.init_args.batch_size=32")
    assert code == 0, err
    logs = workplace / "logs"
    runs = [logs / name / "version_0" for name in ("two", "mini_gpt")]
    sharded, whole = (weights(run / "checkpoints" / "last.ckpt") for run in runs)
    assert sharded.keys() == whole.keys()
    for name, value in whole.items():
        # Adam makes a whole step of the rounding in a gradient that is nearly 0: up to 1.4e-3 in
        # few weights, 1.6e-5 on average. Half the batch has 4e-2 and 4e-3, no weight decay more.
        difference = (sharded[name] - value).abs()
        assert difference.mean() < 5e-5, name
        assert difference.max() < 1e-2, name
    assert (runs[0] / "attention.png").is_file()
