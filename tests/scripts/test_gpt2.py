"""Steps 23 and 24 of the course, without a network."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from inference.generate import TextGenerator
from scripts.course import gpt2
from scripts.course.catalogue import find, read
from scripts.course.runner import run_lesson
from tests.exporting.test_adapter_export import GREEDY, PROMPT, QUESTION, unmerged_tokens
from tests.exporting.test_text_export import llama

transformers = pytest.importorskip("transformers", reason="the extra [llm] is not installed")


@pytest.fixture(autouse=True)
def cut_off(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.hub._reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(workplace / "cache"))


def test_without_weights_the_lesson_says_what_it_needs(gpu_learning) -> None:
    code, out, _ = gpu_learning("lessons", "verify", "--json", "23")
    assert code == 0
    (row,) = json.loads(out)["lessons"]
    assert row["status"] == "skipped"
    assert row["reason"] == "needs the gpt2 weights (hub or local folder)"


def test_with_weights_it_writes_as_transformers_does(gpt2_base: Path, workplace: Path) -> None:
    """A small model in GPT-2's place: all but the number of parameters must hold."""
    shutil.copytree(gpt2_base, "models/gpt2")
    result = run_lesson(find(read(), "23"), workplace / "logs", reduced=True, silent=True)
    figures = {one.figure.name: one for one in result.figures}
    assert figures["greedy tokens are transformers'"].ours is True
    assert figures["parameters"].ours == 42_240 - 2_048
    assert result.status == "fail"


@pytest.mark.slow
def test_the_offline_way_from_nothing_to_llama_cpp(gpu_learning, workplace: Path) -> None:
    """The documented commands, with fewer epochs."""
    result = run_lesson(find(read(), "24"), workplace / "logs", reduced=True, silent=True)
    figures = {one.figure.name: one for one in result.figures}
    assert result.status == "pass", [(one.figure.name, one.ours) for one in result.figures]
    assert figures["gpt2: loss before training"].status == "skipped"
    assert gpt2.NO_WEIGHTS in result.reason
    folder = workplace / "logs" / "models" / "gpt2_qa"
    code, out, err = gpu_learning(
        "generate", folder, QUESTION, "--temperature", 0, "--max-new-tokens", 24, "--json"
    )
    assert code == 0, err
    text = json.loads(out)["text"]
    best = next((workplace / "logs" / "24-lora" / "adapters").rglob("best.ckpt"))
    torch.set_num_threads(1)
    generator = TextGenerator.load(folder, device="cpu")
    expected = unmerged_tokens(best, PROMPT, 24)
    (ours,) = generator.generate([QUESTION], GREEDY)
    assert [*ours.tokens, generator.tokenizer.end][: len(expected)] == expected
    assert text == ours.text
    files = json.loads((folder / "manifest.json").read_text())["files"]
    base, adapter = (folder / files[kind]["file"] for kind in ("gguf-base", "gguf-adapter"))
    assert llama(folder / files["gguf"]["file"], PROMPT, 24, 128) == ours.text
    assert llama(base, PROMPT, 24, 128, adapter) == ours.text
