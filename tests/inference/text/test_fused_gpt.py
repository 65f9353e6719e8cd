"""The decode step by Triton kernels is the step by torch; where they cannot run, it says so."""

import json
import os
import subprocess
import sys

import pytest
import torch

from course.catalogue import find, read
from course.kernels import environment
from datamodules import CharTokenizer
from inference.text.fused_gpt import FusedGPT
from inference.text.generate import TextGenerator
from inference.text.tokenizer import Tokenizer
from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig
from tests.helpers.kernels import require

SMALL = vars(GPTConfig(5, 4, 4, layers=1, **GPT2_SWITCHES))


def _run(what: str, **names: str) -> str:
    require(find(read(), "matmul"))  # needs Triton as well
    command = [sys.executable, "-W", "error", "-m", "tests.helpers.fused_decode", what]
    result = subprocess.run(command, capture_output=True, text=True, env=names or None)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("part", ["steps", "ends", "texts", "int8"])
def test_what_is_decoded_is_what_torch_decodes(part: str, device: str) -> None:
    _run(part, **os.environ, **(environment.SIMULATORS if device == "cpu" else {}))


@pytest.mark.slow
def test_every_launch_of_gpt2_compiles() -> None:
    """For compute capabilities 8.0 and 9.0, with what a program has on a GPU for desktops."""
    names = {k: value for k, value in os.environ.items() if k not in environment.SIMULATORS}
    needs = json.loads(_run("compile", **names))
    assert {name.split()[2].rpartition(".")[2] for name in needs} == {
        "attention_kernel",
        "block_argmax_kernel",
        "embedding_kernel",
        "input_kernel",
        "next_token_kernel",
        "row_kernel",
        "rows_kernel",
    }
    for name, need in needs.items():
        assert need["stack"] == need["doubles"] == 0, name
        assert need["shared"] <= 99 * 1024, name


@pytest.mark.parametrize(
    ("changed", "slots", "sentence"),
    [
        ({"pre_norm": False}, 1, "for nets as GPT-2"),
        ({"output_projection": False}, 1, "for nets as GPT-2"),
        ({"hidden": 20_000}, 1, "up to 16384 inputs, and the model has 20000"),
        ({}, 65, "up to 64 slots, not 65"),
    ],
)
def test_refused(changed: dict, slots: int, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require(find(read(), "matmul"))
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # only read: nothing imports Triton here
    with pytest.raises(ValueError, match=sentence):
        FusedGPT(SMALL | changed, {}, slots, "cpu")


def test_a_gpu_is_asked_for() -> None:
    require(find(read(), "matmul"))
    with torch.device("meta"):
        weights = GPT(GPTConfig(**SMALL)).state_dict()
    with pytest.raises(ValueError, match="need a CUDA GPU; leave --kernels out"):
        FusedGPT(SMALL, weights, 1, "cpu")


def test_int8_is_for_the_kernels() -> None:
    tokenizer = Tokenizer(CharTokenizer("abcde").to_json())
    with pytest.raises(ValueError, match="weights in int8 are for the kernels; add --kernels"):
        TextGenerator(SMALL, {}, tokenizer, "cpu", int8=True)


def test_a_cache_is_asked_for() -> None:
    tokenizer = Tokenizer(CharTokenizer("abcde").to_json())
    with pytest.raises(ValueError, match="for a step with a cache; leave --no-cache out"):
        TextGenerator(SMALL, {}, tokenizer, "cpu", cache=False, kernels=True)


def test_triton_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(ValueError, match="need Triton, which is for Linux"):
        FusedGPT(SMALL, {}, 1, "cuda")
