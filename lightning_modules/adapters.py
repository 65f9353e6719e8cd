"""Low-rank adapters in the linear layers of a GPT-2."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

# What a name for target modules stands for.
PRESETS = {
    "c_attn": ["c_attn"],
    "attention": ["c_attn", "attn.c_proj"],
    "all": ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"],
}


def target_modules(target: str | list[str]) -> list[str]:
    """Names of modules from a preset or a list of them.

    Raises:
        ValueError: no such preset, or an empty list.
    """
    if isinstance(target, str):
        if target not in PRESETS:
            raise ValueError(f"target must be a list or one of {', '.join(PRESETS)}, got {target}")
        return PRESETS[target]
    if not target:
        raise ValueError(f"target names no module; give a list or one of {', '.join(PRESETS)}")
    return list(target)


def adapt(model: nn.Module, targets: list[str], r: int, alpha: int, dropout: float) -> Any:
    """Puts float32 adapters into a GPT-2 and freezes everything else.

    Args:
        model: a ``GPT2LMHeadModel``.
        targets: names of linear layers within a block, or ends of such names.
        r, alpha, dropout: see :class:`~lightning_modules.GPT2LoRA`.

    Raises:
        ValueError: no linear layer of a block has such a name.
    """
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    # Not the embeddings and not the output layer, which is the embeddings' transpose.
    layers = {
        name: module
        for name, module in model.named_modules()
        if ".h." in name and isinstance(module, Conv1D | nn.Linear)
    }
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in layers):
            known = sorted({name.split(".h.")[1].split(".", 1)[1] for name in layers})
            raise ValueError(
                f"target module {target!r} matches no linear layer of a block; a block has "
                f"{', '.join(known)}"
            )
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets,
        # GPT-2's Conv1D holds (in, out); quantized, it is a linear layer with (out, in).
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in layers.values()),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft asks transformers 5 for an attribute by its old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return get_peft_model(model, config)


@torch.no_grad()
def plain_weights(base: nn.Module, merge: bool = True) -> dict[str, Tensor]:
    """Weights of an adapted GPT-2 as one without adapters has them, float32, on the CPU.

    Args:
        base: the ``GPT2LMHeadModel`` with the adapters in its layers, its weights in 4 bits or not.
        merge: with what the adapters add; otherwise as before they learned.
    """
    state: dict[str, Tensor] = {}
    for name, module in base.named_modules():
        if "lora_" in name:
            continue
        for key, parameter in module.named_parameters(recurse=False):
            state[f"{name.replace('.base_layer', '')}.{key}"] = _plain(parameter)
    for name, module in base.named_modules():
        if merge and hasattr(module, "get_delta_weight"):
            delta: Tensor = module.get_delta_weight("default")  # type: ignore[operator]
            delta = delta if getattr(module, "fan_in_fan_out", False) else delta.T
            state[f"{name}.weight"] = state[f"{name}.weight"] + delta.float().cpu()  # (in, out)
    return state


def _plain(parameter: Tensor) -> Tensor:
    if not hasattr(parameter, "quant_state"):
        return parameter.detach().float().cpu()
    from bitsandbytes.functional import dequantize_4bit

    # (out, in) of a linear layer that was a Conv1D with (in, out)
    return dequantize_4bit(parameter.data, parameter.quant_state).T.float().cpu()
