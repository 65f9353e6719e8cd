"""GPT-2 in transformers' format: the same text as transformers' own ``generate``."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from inference.text.generate import TextGenerator
from inference.text.sampling import SamplingOptions
from inference.text.tokenizer import Tokenizer
from tests.conftest import ROOT

transformers = pytest.importorskip("transformers", reason="the extra [llm] is not installed")
safetensors = pytest.importorskip("safetensors.torch")
GPT2_FILES = ROOT / "data" / "gpt2-tokenizer"
PROMPT = "Once upon a time"
GREEDY = SamplingOptions(max_new_tokens=64, temperature=0)


def their_tokens(folder: Path, prompt: str) -> list[int]:
    model = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    ids = torch.tensor([Tokenizer.of_pretrained(folder).encode(prompt)])
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=64, do_sample=False, pad_token_id=0
    )
    return made[0, ids.shape[1] :].tolist()


def our_tokens(folder: Path, prompt: str) -> list[int]:
    generator = TextGenerator.load(folder, device="cpu", dtype=torch.float32)
    (text,) = generator.generate([prompt], GREEDY)
    return [*text.tokens, *([generator.tokenizer.end] if text.reason == "stop" else [])]


def test_greedy_tokens_are_those_of_transformers(gpt2_base: Path) -> None:
    found = our_tokens(gpt2_base, PROMPT)
    assert found == their_tokens(gpt2_base, PROMPT)
    assert len(found) == 64


def test_pieces_and_untied_weights(gpt2_base: Path, workplace: Path) -> None:
    model = transformers.GPT2LMHeadModel.from_pretrained(gpt2_base, tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight.copy_(torch.randn_like(model.lm_head.weight))
    model.save_pretrained("own", max_shard_size="40KB")
    assert not Path("own/model.safetensors").exists()
    shutil.copy(gpt2_base / "tokenizer.json", "own")
    assert our_tokens(Path("own"), PROMPT) == their_tokens(Path("own"), PROMPT)
    next(Path("own").glob("model-*")).unlink()
    with pytest.raises(ValueError, match="own lacks model-"):
        our_tokens(Path("own"), PROMPT)


def test_as_the_hubs_gpt2_names_its_weights(gpt2_base: Path, workplace: Path) -> None:
    """No prefix, no output layer, and the causal mask of each block beside its weights."""
    Path("own").mkdir()
    tensors = safetensors.load_file(gpt2_base / "model.safetensors")
    old = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    old.pop("lm_head.weight", None)
    for layer in range(2):
        old[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 160, 160).tril()
    safetensors.save_file(old, "own/model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(gpt2_base / name, "own")
    assert our_tokens(Path("own"), PROMPT) == our_tokens(gpt2_base, PROMPT)


@pytest.mark.skipif(not GPT2_FILES.is_dir(), reason=f"{GPT2_FILES} is not there")
def test_gpt2s_own_tokenizer(workplace: Path) -> None:
    pytest.importorskip("tokenizers")
    config = transformers.GPT2Config(n_embd=16, n_head=2, n_layer=1, n_positions=96)
    torch.manual_seed(0)
    transformers.GPT2LMHeadModel(config).save_pretrained("own")
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(GPT2_FILES / name, "own")
    assert our_tokens(Path("own"), PROMPT) == their_tokens(Path("own"), PROMPT)
    tokenizer = Tokenizer.of_pretrained(Path("own"))
    assert tokenizer.encode(PROMPT) == [7454, 2402, 257, 640]
    assert tokenizer.end == 50256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "own is a llama, not a GPT-2"),
        ({"activation_function": "relu"}, "has activation_function=relu; only gelu_new"),
        ({"layer_norm_epsilon": 1e-6}, "has layer_norm_epsilon=1e-06"),
        ({"n_embd": "32"}, "lacks the number n_embd"),
        ({"n_embd": 64, "n_head": 4}, "the weights do not belong"),
    ],
)
def test_other_models(gpt2_base: Path, workplace: Path, change: dict, message: str) -> None:
    shutil.copytree(gpt2_base, "own")
    path = Path("own/config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        TextGenerator.load("own", device="cpu")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "[]", "config.json is damaged: it is not a JSON object"),
        ("model.safetensors", "no", "cannot be read as safetensors"),
        ("model.safetensors", None, "own has no model.safetensors"),
        ("tokenizer.json", None, "has no tokenizer.json, nor vocab.json"),
    ],
)
def test_damage(gpt2_base: Path, workplace: Path, name: str, content, message: str) -> None:
    shutil.copytree(gpt2_base, "own")
    (Path("own") / name).unlink()
    if content is not None:
        (Path("own") / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        TextGenerator.load("own", device="cpu")


def test_the_command_takes_a_folder_or_a_name_of_the_hub(
    gpt2_base: Path, gpu_learning, workplace: Path, monkeypatch
) -> None:
    code, out, err = gpu_learning(
        "generate", gpt2_base, PROMPT, "--max-new-tokens", 8, "--temperature", 0
    )
    assert code == 0, err
    assert out.startswith(PROMPT)
    code, _, err = gpu_learning("generate", gpt2_base, PROMPT, "--format", "gguf")
    assert code == 1
    assert "is in transformers' format and has no gguf" in err
    monkeypatch.setattr("datamodules.hub._reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(workplace / "cache"))
    code, _, err = gpu_learning("generate", "gpt2", PROMPT)
    assert code == 1
    assert "there is no network" in err
    assert "without a network name a folder in transformers' format" in err
    # The folder of this name comes first.
    shutil.copytree(gpt2_base, "gpt2")
    assert gpu_learning("generate", "gpt2", PROMPT, "--max-new-tokens", 3)[0] == 0
