"""The folders that adapters are put on: in pieces, damaged, of another kind."""

import json
import shutil
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
        ({}, "own is not a model in transformers' format: it has no config.json"),
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


@pytest.mark.parametrize("damage", ["name", "number", "shape", "cut"])
def test_a_damaged_base_is_refused(gpt2_base: Path, workplace: Path, damage: str) -> None:
    from safetensors.torch import load_file, save_file

    folder = workplace / "base"
    shutil.copytree(gpt2_base, folder)
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("h.0.mlp.c_fc.weight"))
    load_base(str(folder), torch.float32)
    if damage == "name":
        weights[name.replace("c_fc", "c_fd")] = weights.pop(name)
    elif damage == "number":
        weights[name][3, 2] = float("inf")
    elif damage == "shape":
        weights[name] = weights[name][:-1].contiguous()
    save_file(weights, path, {"format": "pt"})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    message = {
        "name": "are damaged: they lack transformer.h.0.mlp.c_fc.weight; export or download",
        "number": "are damaged: they have numbers in transformer.h.0.mlp.c_fc.weight that are not",
    }.get(damage, "cannot be read")
    with pytest.raises(ValueError, match=message):
        load_base(str(folder), torch.float32)
