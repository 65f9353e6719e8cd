"""A GPT-2 as transformers saves it: ``config.json``, ``model.safetensors`` and a tokenizer."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from inference.manifest import MANIFEST, check_folder
from inference.tokenizer import Tokenizer

# Modules of transformers' GPT-2: their names here.
_SINGLE = {"wte": "token", "wpe": "position", "ln_f": "norm"}
_IN_BLOCK = {
    "ln_1": "norm1",
    "attn.c_attn": "attn.qkv",
    "attn.c_proj": "attn.out",
    "ln_2": "norm2",
    "mlp.c_fc": "up",
    "mlp.c_proj": "down",
}
# What a GPT-2 must have to be the function that CachedGPT computes.
_USUAL = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def is_transformers_folder(folder: Path) -> bool:
    """Whether it is such a folder and no artifact of ``gpu-learning export``."""
    return (folder / "config.json").is_file() and not (folder / MANIFEST).is_file()


def read_transformers_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], Tokenizer]:
    """Fields of ``GPTConfig``, float32 weights by the names of ``nets.gpt.GPT``, and the tokenizer.

    The weights may be in one file or in pieces with an index.

    Raises:
        ValueError: it is another kind of model, or a file is missing or damaged.
    """
    check_folder(folder)
    given = _json(folder / "config.json")
    _check(folder, given)
    config = {
        "vocab_size": given["vocab_size"],
        "context": given["n_positions"],
        "width": given["n_embd"],
        "hidden": given.get("n_inner") or 0,
        "layers": given["n_layer"],
        "heads": given["n_head"],
        "tied": bool(given.get("tie_word_embeddings", True)),
    }
    config |= dict.fromkeys(("output_projection", "pre_norm", "gelu", "qkv_bias", "bias"), True)
    tensors: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        try:
            tensors |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} cannot be read as safetensors ({error})") from error
    return config, _weights(tensors, config), Tokenizer.of_pretrained(folder)


def _check(folder: Path, given: dict[str, Any]) -> None:
    if given.get("model_type") != "gpt2":
        kind = given.get("model_type") or "model of no known type"
        raise ValueError(f"{folder} is a {kind}, not a GPT-2")
    for key, values in _USUAL.items():
        if given.get(key, values[0]) not in values:
            raise ValueError(f"{folder} has {key}={given[key]}; only {values[0]} is computed here")
    for key in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head"):
        if not isinstance(given.get(key), int):
            raise ValueError(f"{folder}/config.json lacks the number {key}")


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file() or not index.is_file():
        names = [single.name]
    else:
        names = sorted({str(name) for name in _json(index).get("weight_map", {}).values()})
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ValueError(f"{folder} lacks {', '.join(missing)}; save the model with safetensors")
    return [folder / name for name in names]


def _weights(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name, _, suffix = key.removeprefix("transformer.").rpartition(".")
        if name.startswith("h."):
            _, layer, place = name.split(".", 2)
            if place == "attn":  # old files keep the causal mask
                continue
            name = f"blocks.{layer}.{_IN_BLOCK.get(place, place)}"
            # transformers' Conv1D holds (in, out), a linear layer (out, in).
            tensor = tensor.T if tensor.dim() == 2 else tensor
        elif name == "lm_head":
            if config["tied"]:
                continue
            name = "head"
            weights["head.bias"] = tensor.new_zeros(len(tensor)).float()
        weights[f"{_SINGLE.get(name, name)}.{suffix}"] = tensor.float()
    return weights


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: it is not JSON") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} is damaged: it is not a JSON object")
    return document
