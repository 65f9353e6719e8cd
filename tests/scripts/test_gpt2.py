"""Steps 23 and 24 of the course, without a network."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from course import gpt2
from course.catalogue import find, read
from course.runner import run_lesson
from inference.text.generate import TextGenerator
from tests.exporting.text.test_adapter_export import GREEDY, PROMPT, QUESTION, unmerged_tokens
from tests.exporting.text.test_text_export import llama

transformers = pytest.importorskip("transformers", reason="the extra [llm] is not installed")


@pytest.fixture(autouse=True)
def cut_off(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.hub._reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(workplace / "cache"))


@pytest.mark.parametrize("weights", [False, True])
def test_step_23_writes_as_transformers_does(
    weights: bool, gpt2_base: Path, workplace: Path
) -> None:
    """A small model with random weights in the place of both: text and tokens must hold."""
    shutil.copytree(gpt2_base, "models/gpt2_small/hf")
    if weights:
        shutil.copytree(gpt2_base, "models/gpt2")
    result = run_lesson(find(read(), "23"), workplace / "logs", reduced=True, silent=True)
    figures = {one.figure.name: one for one in result.figures}
    assert figures["parameters"].ours == 124_439_808
    assert figures["offline: greedy tokens are transformers'"].ours is True
    bits = [figures[f"offline: bits per token at {t}"].ours for t in (0.1, 0.8, 1.5)]
    assert bits == sorted(bits)
    theirs = figures["gpt2: greedy tokens are transformers'"]
    assert theirs.ours is (True if weights else None)
    assert theirs.status == ("pass" if weights else "skipped")
    assert ("needs the gpt2 weights (hub or local folder)" in result.reason) is not weights


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
