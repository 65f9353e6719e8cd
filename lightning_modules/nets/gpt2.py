"""GPT-2 as transformers and llama.cpp write it: the names of its weights and its settings."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig


class ModuleNames(NamedTuple):
    """What one module is called in :class:`~lightning_modules.nets.gpt.GPT` and elsewhere."""

    ours: str
    transformers: str  # within ``transformer``, but lm_head
    gguf: str


_OUTSIDE = (
    ModuleNames("token", "wte", "token_embd"),
    ModuleNames("position", "wpe", "position_embd"),
    ModuleNames("norm", "ln_f", "output_norm"),
    ModuleNames("head", "lm_head", "output"),
)
_IN_BLOCK = (
    ModuleNames("norm1", "ln_1", "attn_norm"),
    ModuleNames("attn.qkv", "attn.c_attn", "attn_qkv"),
    ModuleNames("attn.out", "attn.c_proj", "attn_output"),
    ModuleNames("norm2", "ln_2", "ffn_norm"),
    ModuleNames("up", "mlp.c_fc", "ffn_up"),
    ModuleNames("down", "mlp.c_proj", "ffn_down"),
)
_WITHOUT_BIAS = ("token", "position", "head")
# The settings of config.json with which a GPT-2 is the function that GPT and llama.cpp compute.
_USUAL: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
_SIZES = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")


def gpt2_modules(layers: int) -> list[ModuleNames]:
    """The modules of a GPT-2 with this many blocks."""
    blocks = [
        ModuleNames(f"blocks.{n}.{ours}", f"h.{n}.{transformers}", f"blk.{n}.{gguf}")
        for n in range(layers)
        for ours, transformers, gguf in _IN_BLOCK
    ]
    return [*_OUTSIDE, *blocks]


def gpt2_obstacles(net: GPT) -> list[str]:
    """The settings that a net would need to be a GPT-2; empty if it is one.

    Absent biases are none: they are zeros. Nor is an output layer of its own without bias.
    """
    settings = ("pre_norm", "gelu", "output_projection")
    missing = [name for name in settings if not getattr(net.config, name)]
    if not net.config.tied and net.head.bias is not None and bool(net.head.bias.any()):
        missing.append("tied")
    return [f"{name}=true" for name in missing]


def gpt2_weights(net: GPT) -> dict[str, Tensor]:
    """All weights of a GPT-2 under our names: absent biases are zeros, which is the same function.

    ``head.weight`` of a tied net is the token embedding.

    Raises:
        ValueError: the net is not a GPT-2; names the settings that would make it one.
    """
    if obstacles := gpt2_obstacles(net):
        raise ValueError(
            "this net is not of GPT-2's architecture; train one with "
            + " ".join(f"--model.init_args.{setting}" for setting in obstacles)
        )
    state = net.state_dict()
    result: dict[str, Tensor] = {}
    for module in gpt2_modules(net.config.layers):
        tied = module.ours == "head" and net.config.tied
        weight = state["token.weight" if tied else f"{module.ours}.weight"]
        result[f"{module.ours}.weight"] = weight
        if module.ours not in _WITHOUT_BIAS:
            bias = state.get(f"{module.ours}.bias")
            result[f"{module.ours}.bias"] = weight.new_zeros(len(weight)) if bias is None else bias
    return result


def to_gpt2(net: GPT) -> dict[str, Tensor]:
    """Weights under the names and in the layouts of transformers' ``GPT2LMHeadModel``.

    Raises:
        ValueError: as :func:`gpt2_weights`.
    """
    names = {module.ours: module.transformers for module in gpt2_modules(net.config.layers)}
    result: dict[str, Tensor] = {}
    for key, tensor in gpt2_weights(net).items():
        ours, _, suffix = key.rpartition(".")
        prefix = "" if ours == "head" else "transformer."
        result[f"{prefix}{names[ours]}.{suffix}"] = _transposed(names[ours], tensor)
    return result


def from_gpt2(config: GPTConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of :func:`to_gpt2`, for a config with ``GPT2_SWITCHES``, tied or not.

    The prefix ``transformer.`` may be absent, as in GPT-2's own file. A name that is not GPT-2's
    stays as it is.
    """
    names = {module.transformers: module.ours for module in gpt2_modules(config.layers)}
    result: dict[str, Tensor] = {}
    for key, tensor in state.items():
        theirs, _, suffix = key.removeprefix("transformer.").rpartition(".")
        # Old files keep the causal mask; a tied output layer is the token embedding.
        if theirs.endswith(".attn") or (theirs == "lm_head" and config.tied):
            continue
        result[f"{names.get(theirs, theirs)}.{suffix}"] = _transposed(theirs, tensor)
    if "head.weight" in result:
        result["head.bias"] = result["head.weight"].new_zeros(config.vocab_size)
    return result


def _transposed(name: str, tensor: Tensor) -> Tensor:
    """transformers' Conv1D, the linear layers of a block, holds (in, out), nn.Linear (out, in)."""
    return tensor.T.contiguous() if name.startswith("h.") and tensor.dim() == 2 else tensor


def from_gpt2_config(given: Mapping[str, Any], name: object) -> GPTConfig:
    """The config of the net that a ``config.json`` describes.

    Args:
        given: its content.
        name: of the model, for what goes wrong.

    Raises:
        ValueError: a size is missing.
    """
    for key in _SIZES:
        if not isinstance(given.get(key), int):
            raise ValueError(f"config.json of {name} lacks the number {key}")
    return GPTConfig(
        vocab_size=given["vocab_size"],
        context=given["n_positions"],
        width=given["n_embd"],
        hidden=given.get("n_inner") or 0,
        layers=given["n_layer"],
        heads=given["n_head"],
        **GPT2_SWITCHES | {"tied": bool(given.get("tie_word_embeddings", True))},
    )


def to_gpt2_config(config: GPTConfig) -> dict[str, Any]:
    """Arguments of transformers' ``GPT2Config``."""
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": config.hidden or None,
        "tie_word_embeddings": config.tied,
    }


def check_gpt2_config(given: Mapping[str, Any], name: object) -> None:
    """Raises ValueError where ``config.json`` is not of a GPT-2, or of one that differs."""
    if (kind := given.get("model_type")) != "gpt2":
        raise ValueError(f"{name} is a {kind or 'model of no known type'}, not a GPT-2")
    for key, values in _USUAL.items():
        if given.get(key, values[0]) not in values:
            raise ValueError(
                f"{name} has {key}={given[key]}; only {values[0]} is computed and exported here"
            )


def weight_files(folder: Path, name: object) -> list[Path]:
    """``model.safetensors``, or the files that its index names, in the order of their names.

    Raises:
        ValueError: neither is there, or the index or one of its files is damaged.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        raise ValueError(
            f"{name} has no model.safetensors; weights in other files are not read, because "
            "loading them can run code: save the model again with save_pretrained"
        )
    names = read_json(index).get("weight_map")
    if not (isinstance(names, dict) and all(isinstance(file, str) for file in names.values())):
        raise ValueError(f"{index} is damaged")
    files = sorted(set(names.values()))
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise ValueError(f"{name} lacks {', '.join(missing)}, which its index names")
    return [folder / file for file in files]


def read_json(path: Path) -> dict[str, Any]:
    """Raises ValueError where the file is not a JSON object."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: it is not JSON") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} is damaged: it is not a JSON object")
    return document
