"""The folders that adapters are put on: in pieces, damaged, of another kind."""

import json
from pathlib import Path

import pytest
import torch

from lightning_modules.gpt2_base import load_base

transformers = pytest.importorskip("transformers", reason="the extra [llm] is not installed")


def test_a_base_in_pieces(gpt2_base: Path, workplace: Path) -> None:
    model = transformers.GPT2LMHeadModel.from_pretrained(gpt2_base)
    model.save_pretrained("pieces", max_shard_size="40KB")
    assert not Path("pieces/model.safetensors").exists()
    loaded, sha256 = load_base("pieces", torch.float32)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, model.eval()(ids).logits, atol=1e-5)
    piece = sorted(Path("pieces").glob("model-*"))[0]
    content = bytearray(piece.read_bytes())
    content[-1] ^= 1
    piece.write_bytes(content)
    assert load_base("pieces", torch.float32)[1] != sha256
    piece.unlink()
    with pytest.raises(ValueError, match=f"pieces lacks {piece.name}"):
        load_base("pieces", torch.float32)


def _config(**changes) -> str:
    return json.dumps({"model_type": "gpt2", "n_embd": 8, "n_head": 2, "n_layer": 1} | changes)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "own is no model in transformers' format: it has no config.json"),
        ({"config.json": "{"}, "config.json is damaged"),
        ({"config.json": _config(model_type="llama")}, "own is a llama, not a GPT-2"),
        ({"config.json": _config(activation_function="relu")}, "has activation_function=relu"),
        ({"config.json": _config()}, "own has no model.safetensors"),
        (
            {"config.json": _config(), "model.safetensors": "damaged"},
            "the weights of own cannot be read",
        ),
    ],
)
def test_folders_that_are_no_gpt2(workplace: Path, files: dict, message: str) -> None:
    Path("own").mkdir()
    for name, content in files.items():
        (Path("own") / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        load_base("own", torch.float32)
