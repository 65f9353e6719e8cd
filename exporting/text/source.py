"""From a checkpoint to what is exported: the net, its tokenizer and text to compare on."""

import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from datamodules import CharTextDataModule, InstructionDataModule
from datamodules.windows import IGNORED
from exporting.provenance import origin
from inference.text.tokenizer import Tokenizer
from lightning_modules import GPT2LoRA, MiniGPT
from lightning_modules.nets.gpt import GPT

_WINDOWS = 64


# Logits of all tokens of all windows, about 256 MB of them.
_LARGEST = 1 << 26


@dataclass(frozen=True)
class TextSource:
    """A trained net and validation text.

    ``net`` is an eval copy on the CPU; ``inputs`` and ``targets`` (N, T) are the first windows of
    the validation text (of the training text where there is none), at most 64; a target of -100
    does not count. ``lora`` is the module with its adapters where ``net`` is the merged one.
    """

    net: GPT
    tokenizer: str
    inputs: Tensor
    targets: Tensor
    chars_per_token: float
    description: dict[str, Any]
    lora: GPT2LoRA | None = None

    @torch.inference_mode()
    def log_probabilities(self) -> Tensor:
        """What was trained says to the inputs: (N, T, V), of adapters before they are merged."""
        model = self.net if self.lora is None else self.lora
        return torch.cat([model(part) for part in self.inputs.split(8)]).log_softmax(-1)


def is_text_checkpoint(checkpoint: Path) -> bool:
    """Whether a checkpoint is one of a language model."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # what it is instead, the reader of other checkpoints says
        return False
    return any(kind.__name__ in content for kind in (CharTextDataModule, InstructionDataModule))


def read_text_source(checkpoint: Path, root: str | None = None) -> TextSource:
    """What a checkpoint of ``gpu-learning fit`` with a language model holds.

    Args:
        checkpoint: the file.
        root: folder of the data, where it is not the one of the training.

    Raises:
        ValueError: the text or the pretrained base is not there, or no longer the one of the
            training.
    """
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    arguments = {
        name: value
        for name, value in content["datamodule_hyper_parameters"].items()
        if not name.startswith("_")
    }
    if InstructionDataModule.__name__ in content:
        return _read_adapters(checkpoint, content, arguments)
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
    return TextSource(
        net,
        data.tokenizer.to_json(),
        inputs[:_WINDOWS],
        targets[:_WINDOWS],
        data.chars_per_token,
        _describe(checkpoint, content, net, module) | {"data": _data(data)},
    )


def _read_adapters(
    checkpoint: Path, content: dict[str, Any], arguments: dict[str, Any]
) -> TextSource:
    # The files hold whole weights: what was trained on 4 bits is added to all of them.
    module = GPT2LoRA.load_from_checkpoint(
        checkpoint, quantize=None, map_location="cpu", weights_only=True
    )
    module.eval().requires_grad_(False)
    net = module.merged()
    arguments["tokenizer"] = arguments["tokenizer"] or module.pretrained
    data = InstructionDataModule(**arguments)
    data.load_state_dict(content[InstructionDataModule.__name__])
    data.setup("validate")
    assert data.tokenizer is not None
    batch = next(iter(data.val_dataloader() or data.train_dataloader()))
    rows = max(1, min(_WINDOWS, _LARGEST // (data.context * net.config.vocab_size)))
    source = TextSource(
        net,
        data.tokenizer.to_json(),
        batch[0][:rows],
        batch[1][:rows],
        1.0,
        _describe(checkpoint, content, net, module)
        | {
            "data": _data(data),
            "prompt_template": data.template,
            "base": content["base"],
            "adapters": {name: module.hparams[name] for name in ("r", "alpha", "target")},
        },
        module,
    )
    counted = source.targets[source.targets != IGNORED].tolist()
    text = Tokenizer(source.tokenizer).decode(counted)
    return replace(source, chars_per_token=len(text) / len(counted))


def _describe(
    checkpoint: Path, content: dict[str, Any], net: GPT, module: pl.LightningModule
) -> dict[str, Any]:
    kind = type(module)
    return {
        "task": "text-generation",
        "input": {"shape": [net.config.context], "dtype": "int64"},
        "labels": None,
        "config": {name: value for name, value in asdict(net.config).items() if name != "dropout"},
        "model": f"{kind.__module__}.{kind.__qualname__}",
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "source": origin(checkpoint, content),
    }


def _data(data: CharTextDataModule | InstructionDataModule) -> dict[str, str]:
    return {"class": type(data).__name__, "source": data.source}
