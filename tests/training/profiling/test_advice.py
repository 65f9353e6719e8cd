"""The sentence of a profile: what limits a run, and an option that the run has."""

from dataclasses import replace

import pytest

from training.profiling.advice import Setup, verdict
from training.profiling.division import LIMITS, Division, Measured

IMAGES = {"batch_size": 32, "resident": True, "num_workers": 0}
WHOLE = Setup(data=IMAGES, compilable=True, cores=8, sets_threads=True)


def said(limit: str, device: str, setup: Setup, **measured: object) -> str:
    parts = dict.fromkeys(LIMITS, 0.1) | {limit: 0.6}
    gpu = device == "cuda"
    division = Division(parts, 0.5 if gpu else None, 40, 200 if gpu else None, 0.0, 1.0, [])
    sentence = verdict(division, replace(Measured(device, 0.01, 0.0), **measured), setup)
    assert sentence.startswith("limited by ")
    assert "60%" in sentence
    return sentence


@pytest.mark.parametrize(
    ("limit", "device", "changes", "option"),
    [
        ("data", "cuda", {"data": IMAGES | {"resident": False}}, "--data.init_args.resident true"),
        ("data", "cpu", {"data": {"num_workers": 0}}, "--data.init_args.num_workers 2"),
        ("data", "cpu", {"data": {"num_workers": 4}}, "--data.init_args.num_workers 8"),
        ("data", "cpu", {"data": {"num_workers": 8}}, "no option of its data module"),
        ("data", "cuda", {"data": {"batch_size": 8}}, "no option of its data module"),
        ("data", "cuda", {}, "no option of its data module"),
        ("launches", "cuda", {}, "--trainer.strategy cuda_graph,"),
        ("launches", "cuda", {"devices": 2}, "--trainer.strategy cuda_graph_ddp,"),
        ("launches", "cuda", {"automatic": False}, "--data.init_args.batch_size 128"),
        ("launches", "cuda", {"captures": True}, "--trainer.strategy.init_args.steps_per_turn 10"),
        ("launches", "cuda", {"captures": True, "steps_per_turn": 4}, "batch_size 128"),
        ("launches", "cpu", {}, "--data.init_args.batch_size 128"),
        ("launches", "cpu", {"data": {"batch_size": 0}}, "--trainer.callbacks+=callbacks.Compile"),
        ("launches", "cpu", {"data": {}, "compilable": False}, "no option of this run"),
        ("memory", "cuda", {}, "--trainer.precision bf16-mixed"),
        ("memory", "cuda", {"precision": "bf16-mixed"}, "--trainer.callbacks+=callbacks.Compile"),
        ("memory", "cpu", {"compilable": False}, "no option of this run"),
        ("arithmetic", "cuda", {}, "--trainer.precision bf16-mixed"),
        ("arithmetic", "cuda", {"precision": "bf16-mixed"}, "--trainer.devices"),
        ("arithmetic", "cpu", {}, "--cpu_threads.threads 8"),
        ("arithmetic", "cpu", {"threads": 8}, "a smaller model, or a GPU"),
        ("arithmetic", "cpu", {"sets_threads": False}, "a smaller model, or a GPU"),
        ("host", "cuda", {}, "--trainer.strategy cuda_graph,"),
        ("host", "cpu", {}, "--data.init_args.batch_size 128"),
        ("host", "cpu", {"data": {"batch_size": 0}}, "no option of this run"),
    ],
)
def test_the_option_is_one_that_the_run_has(
    limit: str, device: str, changes: dict, option: str
) -> None:
    assert option in said(limit, device, replace(WHOLE, **changes))


def test_weights_that_are_read_for_few_rows() -> None:
    setup = replace(WHOLE, precision="bf16-mixed", compilable=False)
    counted = {"flops": 1e9, "bytes": 1e9, "product_bytes": 1e9}
    assert "--data.init_args.batch_size 128" in said("memory", "cuda", setup, **counted)


def test_a_callback_that_takes_long_is_named() -> None:
    hosts = {"[Callback]Slow.on_train_batch_end": 0.004, "[Strategy]X.training_step": 0.005}
    sentence = said("host", "cpu", WHOLE, hosts=hosts)
    assert "most of it in [Callback]Slow.on_train_batch_end" in sentence
