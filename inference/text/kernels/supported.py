"""Which nets and GPUs the kernels are for."""

import importlib.util
import os
from collections.abc import Mapping
from typing import Any

import torch

WIDEST = 16_384  # inputs of a linear layer, of which a program takes whole rows of weights
MOST = 64  # sequences
OLDEST = (8, 0)  # compute capability: bfloat16, and copies into shared memory that overlap


def check(config: Mapping[str, Any], slots: int, device: torch.device) -> None:
    """Refuses what :class:`~inference.text.fused_gpt.FusedGPT` cannot decode.

    Raises:
        ValueError: Triton or the GPU is missing, a net of another kind, too many slots.
    """
    if importlib.util.find_spec("triton") is None:
        raise ValueError("the kernels need Triton, which is for Linux; leave --kernels out")
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError("the kernels need a CUDA GPU; leave --kernels out")
    if device.type == "cuda" and torch.cuda.is_available():
        capability = torch.cuda.get_device_capability(device)
        if capability < OLDEST:
            found, least = (".".join(map(str, pair)) for pair in (capability, OLDEST))
            raise ValueError(
                f"the kernels need a GPU of compute capability {least}, and this one has {found}; "
                "leave --kernels out"
            )
    if not (config.get("pre_norm") and config.get("output_projection")):
        raise ValueError(
            "the kernels are for nets as GPT-2: with pre_norm and output_projection; leave "
            "--kernels out"
        )
    widest = max(config.get("hidden") or 4 * config["width"], config["width"])
    if widest > WIDEST:
        raise ValueError(
            f"the kernels are for layers of up to {WIDEST} inputs, and the model has {widest}; "
            "leave --kernels out"
        )
    if slots > MOST:
        raise ValueError(f"the kernels are for up to {MOST} slots, not {slots}")
