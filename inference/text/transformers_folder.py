"""A GPT-2 as transformers saves it: ``config.json``, ``model.safetensors`` and a tokenizer."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from inference.manifest import MANIFEST, check_folder
from inference.text.tokenizer import Tokenizer
from lightning_modules.nets.gpt2 import (
    check_gpt2_config,
    from_gpt2,
    from_gpt2_config,
    read_json,
    weight_files,
)


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
    given = read_json(folder / "config.json")
    check_gpt2_config(given, folder)
    config = from_gpt2_config(given, folder)
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder, folder):
        try:
            tensors |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} cannot be read as safetensors ({error})") from error
    weights = {name: tensor.float() for name, tensor in from_gpt2(config, tensors).items()}
    return asdict(config), weights, Tokenizer.of_pretrained(folder)
