"""A pretrained GPT-2 of transformers, checked and ready to be adapted."""

import hashlib
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.hub import pretrained_folder
from lightning_modules.nets.gpt2 import check_gpt2_config, read_json, weight_files

_ATTENTION = "sdpa_without_mask"


def load_base(
    pretrained: str, dtype: torch.dtype, quantize: str | None = None, device: Any = "cpu"
) -> tuple[Any, str]:
    """A GPT-2 without dropout, and the sha256 of its weights.

    Args:
        pretrained: name on the Hugging Face hub, or folder.
        dtype: of the weights in memory.
        quantize: ``4bit`` keeps the linear layers of the blocks in 4 bits.
        device: where 4-bit weights are made; others start on the CPU.

    Raises:
        ValueError: it cannot be had, is no GPT-2, or is one that computes something else.
    """
    try:
        from transformers import GPT2LMHeadModel
        from transformers.utils import logging
    except ModuleNotFoundError as error:
        raise ValueError("GPT-2 needs transformers and peft: make setup EXTRAS=dev,llm") from error
    folder = pretrained_folder(pretrained)
    _check_config(folder, pretrained)
    sha256 = hash_weights(weight_files(folder, pretrained))
    _register_attention()
    logging.disable_progress_bar()
    arguments: dict[str, Any] = {"dtype": dtype, "attn_implementation": _ATTENTION}
    arguments |= dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    if quantize is not None:
        arguments |= _four_bits(dtype, device)
    try:
        loaded: Any = GPT2LMHeadModel.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, **arguments
        )
        model, info = loaded
    except Exception as error:  # safetensors and transformers have their own, for damaged files
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"the weights of {pretrained} cannot be read ({why})") from error
    _check_weights(model, info, pretrained)
    return model, sha256


def _check_weights(model: Any, info: dict[str, Any], name: str) -> None:
    """transformers fills what a damaged header has under another name with random numbers."""
    problem = ""
    if missing := sorted(info["missing_keys"]):
        problem = f"lack {', '.join(missing[:3])}"
    for key, weight in model.named_parameters():
        if not problem and weight.is_floating_point() and not bool(weight.isfinite().all()):
            problem = f"have numbers in {key} that are not finite"
    if problem:
        raise ValueError(
            f"the weights of {name} are damaged: they {problem}; export or download the model again"
        )


def hash_weights(files: list[Path]) -> str:
    """sha256 over the content of all files, one after another, a piece at a time."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while piece := file.read(1 << 24):
                digest.update(piece)
    return digest.hexdigest()


def _check_config(folder: Path, name: str) -> None:
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{name} is not a model in transformers' format: it has no config.json. Name a folder "
            "with config.json and model.safetensors, such as models/NAME/hf"
        )
    check_gpt2_config(read_json(path), name)


def _four_bits(dtype: torch.dtype, device: Any) -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    try:
        import bitsandbytes  # noqa: F401  its absence would be a message of many lines
    except ImportError as error:
        raise ValueError(
            "quantize=4bit needs the package bitsandbytes: make setup EXTRAS=dev,llm,qlora"
        ) from error
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def _register_attention() -> None:
    """Attention for which transformers builds no mask.

    Its own ``sdpa`` looks at the positions to find out whether rows are packed, which waits for
    the GPU, and under torch.compile builds a mask in any case, which rules the fast kernels out.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(_ATTENTION, _attention)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    x = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
    return x.transpose(1, 2).contiguous(), None  # (B, T, H, C / H)
