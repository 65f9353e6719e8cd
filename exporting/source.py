"""From a checkpoint to what is exported: the net, the test split and their description."""

import copy
import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn

from datamodules import ImageDataModule

_CALIBRATION = 256  # training inputs from which the range of activations is measured


@dataclass(frozen=True)
class Source:
    """A trained net and the data it is compared on.

    ``net`` is an eval copy on the CPU; ``inputs`` (N, ...) and ``targets`` (N, ...) are the test
    split; ``description`` goes into the manifest as it is; ``calibration`` reads some inputs of the
    training split, for formats that need to know the range of activations.
    """

    net: nn.Module
    inputs: np.ndarray
    targets: np.ndarray
    description: dict[str, Any] = field(default_factory=dict)
    calibration: Callable[[], np.ndarray] | None = None


def read_source(checkpoint: Path, root: str | None = None) -> Source:
    """What a checkpoint of ``gpu-learning fit`` holds.

    Args:
        checkpoint: the file.
        root: folder of the data, where it is not the one of the training.

    Raises:
        ValueError: the file is damaged, of other origin, or its test data is not there.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        module_path = content["hyper_parameters"]["_class_path"]
        data_path = content["datamodule_hyper_parameters"]["_class_path"]
    except Exception as error:
        raise ValueError(
            f"{checkpoint} cannot be read as a checkpoint of gpu-learning fit "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); it is "
            "damaged or something else"
        ) from error
    module_class = _class(module_path, pl.LightningModule)
    data_class = _class(data_path, pl.LightningDataModule)
    arguments = _plain(content["datamodule_hyper_parameters"])
    if root is not None:
        arguments["root"] = root
    return make_source(checkpoint, module_class, data_class(**arguments))


def make_source(
    checkpoint: Path, module_class: type[pl.LightningModule], data: pl.LightningDataModule
) -> Source:
    """The same, where the classes are known already; ``data`` must not be in use by a Trainer."""
    module = module_class.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    net = getattr(module, "net", None)
    if not isinstance(net, nn.Module):
        raise ValueError(
            f"{module_class.__name__} has no net to export; a module keeps its network in self.net"
        )
    # The layout of the checkpoint's training is no property of the files.
    net = copy.deepcopy(net).to(memory_format=torch.contiguous_format).eval().requires_grad_(False)
    inputs, targets = _test_split(data)
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    description = {
        "model": f"{module_class.__module__}.{module_class.__qualname__}",
        "hyper_parameters": _plain(dict(module.hparams)),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "source": {
            "checkpoint": str(checkpoint),
            "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            "epoch": content["epoch"],
            "global_step": content["global_step"],
        },
        "data": type(data).__name__,
        "test_inputs": len(inputs),
        **_input_description(data, inputs),
    }
    return Source(net, inputs, targets, description, lambda: _training_inputs(fresh_copy(data)))


def fresh_copy(data: pl.LightningDataModule) -> pl.LightningDataModule:
    """A datamodule with the same arguments that no Trainer holds: whole, and on the CPU."""
    return type(data)(**_plain(dict(data.hparams)))


def _input_description(data: pl.LightningDataModule, inputs: np.ndarray) -> dict[str, Any]:
    given: dict[str, Any] = {"shape": list(inputs.shape[1:]), "dtype": "float32"}
    if not isinstance(data, ImageDataModule):
        return {"task": "tensor", "input": given, "labels": None}
    given |= {"mean": data.mean, "std": data.std, "layout": "light on dark, centred as in MNIST"}
    return {
        "task": "image-classification",
        "input": given,
        "labels": [str(digit) for digit in data.classes],
    }


def _test_split(data: pl.LightningDataModule) -> tuple[np.ndarray, np.ndarray]:
    data.prepare_data()
    data.setup("test")
    inputs, targets = [], []
    for batch in data.test_dataloader():
        if not (isinstance(batch, tuple | list) and len(batch) == 2):
            raise ValueError(
                f"{type(data).__name__} gives no pairs of inputs and targets; only such models are "
                "exported in these formats"
            )
        if not batch[0].is_floating_point():
            raise ValueError(
                f"{type(data).__name__} gives inputs of {batch[0].dtype}; models of numbers are "
                "exported in these formats, not of tokens or indices"
            )
        inputs.append(batch[0].cpu())
        targets.append(batch[1].cpu())
    if not inputs:
        raise ValueError(f"{type(data).__name__} has no test split to compare an export on")
    return torch.cat(inputs).float().numpy(), torch.cat(targets).numpy()


def _training_inputs(data: pl.LightningDataModule) -> np.ndarray:
    """The first inputs of an epoch of training, whose order the datamodule's own seed decides."""
    data.setup("fit")
    inputs: list[torch.Tensor] = []
    for batch in data.train_dataloader():
        inputs.append(batch[0].cpu())
        if sum(map(len, inputs)) >= _CALIBRATION:
            break
    return torch.cat(inputs)[:_CALIBRATION].float().numpy()


def _class(path: str, base: type) -> Any:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"the checkpoint was made by {path}, which is not here") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"the checkpoint names {path}, which is no {base.__name__}")
    return found


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """Hyperparameters without LightningCLI's notes."""
    return {name: value for name, value in arguments.items() if not name.startswith("_")}
