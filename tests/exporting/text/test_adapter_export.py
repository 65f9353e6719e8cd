"""Artifacts of adapters: merged, beside their base, and for peft and llama.cpp."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from datamodules import InstructionDataModule
from exporting.text import export_text, is_text_checkpoint, read_text_source
from exporting.text.gguf_file import modelfile
from inference import load
from inference.text.generate import TextGenerator
from inference.text.sampling import SamplingOptions
from inference.text.tokenizer import Tokenizer
from lightning_modules import GPT2LoRA
from tests.conftest import quiet_trainer
from tests.exporting.text.test_text_export import SMALL, _net, llama, text_source

for package in ("gguf", "peft", "transformers"):
    pytest.importorskip(package, reason="the extra [llm] is not installed")
pytestmark = pytest.mark.slow  # a run that has learned, and five formats of it
QUESTION = "What is a GPU?"
PROMPT = f"Question: {QUESTION}\nAnswer:"
GREEDY = SamplingOptions(max_new_tokens=24, temperature=0)
ADAPTED = ["safetensors", "merged", "peft", "gguf", "gguf-adapter"]


@pytest.fixture(scope="module")
def checkpoint(gpt2_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned its twelve answers by heart, so that no two tokens tie."""
    path = tmp_path_factory.mktemp("run") / "best.ckpt"
    torch.set_num_threads(1)
    pl.seed_everything(0, verbose=False)
    run = quiet_trainer(max_epochs=40, limit_val_batches=0)
    model = GPT2LoRA(str(gpt2_base), r=8, alpha=16, target="all", lr=0.02)
    run.fit(model, datamodule=InstructionDataModule(context=160, val_size=58, batch_size=4))
    run.save_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def artifact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "adapted"
    export_text(read_text_source(checkpoint), folder, ADAPTED)
    return folder


def unmerged_tokens(checkpoint: Path, prompt: str, tokens: int) -> list[int]:
    """Greedy tokens by the module with its adapters, the whole text computed for each."""
    module = GPT2LoRA.load_from_checkpoint(checkpoint, weights_only=True).eval()
    tokenizer = Tokenizer.of_pretrained(Path(module.pretrained))
    ids = tokenizer.encode(prompt)
    before = len(ids)
    for _ in range(tokens):
        with torch.no_grad():
            ids.append(int(module(torch.tensor([ids]))[0, -1].argmax()))
        if ids[-1] == tokenizer.end:
            break
    return ids[before:]


def test_every_format_is_proved_against_the_adapters_before_they_are_merged(
    artifact: Path, checkpoint: Path
) -> None:
    manifest = json.loads((artifact / "manifest.json").read_text())
    for kind in ("safetensors", "merged", "peft"):
        entry = (manifest["files"] | manifest["folders"])[kind]
        assert entry["checked"]["mean_difference"] < 1e-4, kind
        assert entry["checked"]["agreement"] == 1, kind
    assert manifest["prompt_template"] == "Question: {question}\nAnswer:"
    assert manifest["base"]["sha256"]
    assert is_text_checkpoint(checkpoint)
    names = {path.name.split("-")[0] for path in artifact.iterdir()}
    assert names == {
        "Modelfile",
        "Modelfile.adapter",
        "gguf",
        "manifest.json",
        "merged",
        "peft",
        "safetensors",
        "tokenizer",
    }


def test_it_answers_in_the_form_that_it_learned(artifact: Path, checkpoint: Path) -> None:
    expected = unmerged_tokens(checkpoint, PROMPT, 24)
    for kind in (None, "gguf", "gguf-adapter"):
        generator = TextGenerator.load(artifact, kind, device="cpu")
        (text,) = generator.generate([QUESTION], GREEDY)
        assert [*text.tokens, generator.tokenizer.end][: len(expected)] == expected, kind
        (same,) = generator.generate([PROMPT], GREEDY, raw=True)
        assert same.tokens == text.tokens
        (other,) = generator.generate([QUESTION], GREEDY, raw=True)
        assert other.tokens != text.tokens
    assert load(artifact).template == "Question: {question}\nAnswer:"


def test_peft_loads_the_folder(artifact: Path, checkpoint: Path, gpt2_base: Path) -> None:
    from peft import PeftModel
    from transformers import AutoTokenizer, GPT2LMHeadModel

    assert {path.name for path in (artifact / "peft").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    base = GPT2LMHeadModel.from_pretrained(gpt2_base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of peft under transformers 5
        adapted = PeftModel.from_pretrained(base, str(artifact / "peft")).eval()
    module = GPT2LoRA.load_from_checkpoint(checkpoint, weights_only=True).eval()
    merged = GPT2LMHeadModel.from_pretrained(artifact / "merged").eval()
    ids = AutoTokenizer.from_pretrained(artifact / "merged")(PROMPT, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = module(ids)
        assert (adapted(ids).logits - expected).abs().max() < 1e-4
        assert (merged(ids).logits - expected).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["gguf", "gguf-adapter"])
def test_llama_cpp_gives_the_same_answer(artifact: Path, checkpoint: Path, kind: str) -> None:
    files = json.loads((artifact / "manifest.json").read_text())["files"]
    model = files["gguf-base" if kind == "gguf-adapter" else kind]["file"]
    adapter = artifact / files[kind]["file"] if kind == "gguf-adapter" else None
    expected = unmerged_tokens(checkpoint, PROMPT, 24)
    tokenizer = TextGenerator.load(artifact, device="cpu").tokenizer
    found = llama(artifact / model, PROMPT, 24, 160, adapter)
    assert found == tokenizer.decode(expected)
    assert found != llama(artifact / model, PROMPT, 24, 160) or kind == "gguf"


def test_ollama_is_told_the_template_and_the_adapters(artifact: Path) -> None:
    text = (artifact / "Modelfile").read_text()
    assert '{{ end }}Question: {{ .Prompt }}\nAnswer:"""\n' in text
    assert "ADAPTER" not in text
    text = (artifact / "Modelfile.adapter").read_text()
    base, adapter = (line.split(" ./")[1] for line in text.splitlines()[:2])
    assert text.startswith("FROM ./gguf-base-")
    assert "\nADAPTER ./gguf-adapter-" in text
    assert (artifact / base).is_file()
    assert (artifact / adapter).is_file()
    assert (artifact / adapter).stat().st_size < (artifact / base).stat().st_size


@pytest.mark.parametrize(
    "name",
    [
        "merged/model.safetensors",
        "merged/tokenizer.json",
        "peft/adapter_model.safetensors",
        "Modelfile.adapter",
    ],
)
def test_a_flipped_byte_is_refused(
    artifact: Path, tmp_path: Path, name: str, gpu_learning: Callable[..., tuple[int, str, str]]
) -> None:
    folder = shutil.copytree(artifact, tmp_path / "models" / "adapted")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    for model in (folder, folder / "merged"):
        if model == folder or name.startswith("merged"):
            code, out, err = gpu_learning("generate", model, QUESTION, "--device=cpu")
            assert (code, out) == (1, ""), model
            assert f"{name} does not have the checksum" in err
            assert err.count("\n") == 1
    if name.startswith("merged"):
        with pytest.raises(ValueError, match=f"{name} does not have the checksum"):
            GPT2LoRA(str(folder / "merged")).configure_model()


def test_a_template_with_what_modelfiles_mean_otherwise() -> None:
    text = modelfile("a.gguf", 64, "{{x}} {question}\n>")
    assert '{{ end }}{{ "{{" }}x}} {{ .Prompt }}\n>"""' in text
    with pytest.raises(ValueError, match="ends its template at three quotes"):
        modelfile("a.gguf", 64, '"""{question}')


def test_what_is_no_longer_asked_for_goes(artifact: Path, checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(artifact, tmp_path / "adapted")
    export_text(read_text_source(checkpoint), folder, ["safetensors"])
    names = sorted(path.name.split("-")[0] for path in folder.iterdir())
    assert names == ["manifest.json", "safetensors", "tokenizer"]


def test_formats_of_adapters_need_adapters(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="peft is a format of adapters, and this model has none"):
        export_text(text_source(_net(SMALL)), tmp_path / "small", ["safetensors", "peft"])
    assert not (tmp_path / "small").exists()


def test_other_examples_than_it_was_trained_on(
    checkpoint: Path, workplace: Path, gpt2_base: Path
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["datamodule_hyper_parameters"]["seed"] = 1
    torch.save(content, "other.ckpt")
    with pytest.raises(ValueError, match="was trained on other examples"):
        read_text_source(Path("other.ckpt"))
