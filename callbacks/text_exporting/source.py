"""From a checkpoint to what is exported: the net, its tokenizer and text to compare on."""

import copy
import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules import CharTextDataModule
from datamodules.windows import IGNORED
from lightning_modules import MiniGPT
from lightning_modules.nets.gpt import GPT

_WINDOWS = 64


@dataclass(frozen=True)
class TextSource:
    """A trained net and validation text.

    ``net`` is an eval copy on the CPU; ``inputs`` and ``targets`` (N, T) are the first windows of
    the validation text (of the training text where there is none), at most 64.
    """

    net: GPT
    tokenizer: str
    inputs: Tensor
    targets: Tensor
    chars_per_token: float
    description: dict[str, Any]


def is_text_checkpoint(checkpoint: Path) -> bool:
    """Whether a checkpoint is one of a language model."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # what it is instead, the reader of other checkpoints says
        return False
    return CharTextDataModule.__name__ in content


def read_text_source(checkpoint: Path, root: str | None = None) -> TextSource:
    """What a checkpoint of ``gpu-learning fit`` with a CharTextDataModule holds.

    Args:
        checkpoint: the file.
        root: folder of the data, where it is not the one of the training.

    Raises:
        ValueError: the text is not there, or is no longer the one of the training.
    """
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    arguments = {
        name: value
        for name, value in content["datamodule_hyper_parameters"].items()
        if not name.startswith("_")
    }
    if root is not None:
        arguments["root"] = root
    data = CharTextDataModule(**arguments)
    # The tokenizer of the training comes from the checkpoint; the text must still fit it.
    data.load_state_dict(content[CharTextDataModule.__name__])
    data.prepare_data()
    data.setup("validate")
    assert data.tokenizer is not None
    loader = data.val_dataloader() or data.train_dataloader()
    inputs, targets = next(iter(loader))
    module = MiniGPT.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    net = copy.deepcopy(module.net).eval().requires_grad_(False)
    description = {
        "task": "text-generation",
        "input": {"shape": [net.config.context], "dtype": "int64"},
        "labels": None,
        "config": {name: value for name, value in asdict(net.config).items() if name != "dropout"},
        "model": f"{MiniGPT.__module__}.{MiniGPT.__qualname__}",
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "source": {
            "checkpoint": str(checkpoint),
            "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            "epoch": content["epoch"],
            "global_step": content["global_step"],
        },
        "data": {"class": type(data).__name__, "source": data.source},
    }
    return TextSource(
        net,
        data.tokenizer.to_json(),
        inputs[:_WINDOWS],
        targets[:_WINDOWS].masked_fill(targets[:_WINDOWS] == IGNORED, 0),
        data.chars_per_token,
        description,
    )
