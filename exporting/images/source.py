"""From a checkpoint to what is exported: the net, the test split and their description."""

import copy
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn

import datamodules
import lightning_modules
from exporting.provenance import origin
from inference.images.inputs import PREPROCESSINGS

CALIBRATION = 256  # training inputs from which the range of activations is measured
_MOST_BYTES = 1 << 29  # of test inputs: 892 color images of 224 x 224


@dataclass(frozen=True)
class Source:
    """A trained net and the data it is compared on.

    ``net`` is an eval copy on the CPU; ``inputs`` (N, ...) and ``targets`` (N, ...) are the test
    split; ``description`` goes into the manifest as it is; ``calibration`` reads at most so many
    inputs of the training split, for formats that need them.
    """

    net: nn.Module
    inputs: np.ndarray
    targets: np.ndarray
    description: dict[str, Any] = field(default_factory=dict)
    calibration: Callable[[int], np.ndarray] | None = None


def read_source(
    checkpoint: Path, root: str | None = None, model: str | None = None, data: str | None = None
) -> Source:
    """What a checkpoint of a Trainer holds.

    ``gpu-learning fit`` notes the classes of the model and of the data module in it. Any other
    Trainer notes their arguments only, so that the classes must be named.

    Args:
        checkpoint: the file.
        root: folder of the data, where it is not the one of the training.
        model: class of the module, such as ``MNISTCNN`` or a dotted path.
        data: class of the data module, such as ``MNISTDataModule``.

    Raises:
        ValueError: the file is damaged, of other origin, names no class and none was given, or its
            test data is not there.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        module_arguments = dict(content.get("hyper_parameters") or {})
        for key in ("pytorch-lightning_version", "state_dict"):
            content[key]
    except Exception as error:
        raise ValueError(
            f"{checkpoint} cannot be read as a checkpoint of this project: it is cut off, damaged "
            "or not a checkpoint. Name a run, such as logs/digits_cnn; a state dict comes in with "
            "gpu-learning import"
        ) from error
    if "datamodule_hyper_parameters" not in content:
        raise ValueError(
            f"{checkpoint} was trained without a data module, so what its inputs were normalized "
            "with is not known; bring it in with gpu-learning import, which asks for that"
        )
    arguments = dict(content["datamodule_hyper_parameters"])
    module_class = _named(
        module_arguments.get("_class_path"), model, pl.LightningModule, "model", lightning_modules
    )
    data_class = _named(
        arguments.get("_class_path"), data, pl.LightningDataModule, "data", datamodules
    )
    arguments = _plain(arguments)
    if root is not None:
        arguments["root"] = root
    return make_source(checkpoint, module_class, data_class(**arguments))


def _named(noted: str | None, asked: str | None, base: type, option: str, package: Any) -> Any:
    """The class that a checkpoint notes, or the one that was asked for."""
    path = noted or asked
    if path is None:
        raise ValueError(
            f"the checkpoint does not say of which class its {option} is, as none does that "
            f"gpu-learning fit did not write; name it with --{option}, such as --model MNISTCNN "
            "--data MNISTDataModule"
        )
    if asked and noted and asked.rpartition(".")[2] != noted.rpartition(".")[2]:
        raise ValueError(
            f"the checkpoint was made by {noted}, not by {asked}; leave --{option} out"
        )
    return _class(path if "." in path else f"{package.__name__}.{path}", base)


def make_source(
    checkpoint: Path, module_class: type[pl.LightningModule], data: pl.LightningDataModule
) -> Source:
    """The same, where the classes are known already; ``data`` must not be in use by a Trainer."""
    try:
        module = module_class.load_from_checkpoint(
            checkpoint, map_location="cpu", weights_only=True
        )
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{checkpoint} does not fit {module_class.__name__}: "
            f"{' '.join(str(error).split())[:300]}; name the class that it was trained with"
        ) from error
    net = getattr(module, "net", None)
    if not isinstance(net, nn.Module):
        raise ValueError(
            f"{module_class.__name__} has no net to export; a module keeps its network in self.net"
        )
    # The layout of the checkpoint's training is no property of the files.
    net = copy.deepcopy(net).to(memory_format=torch.contiguous_format).eval().requires_grad_(False)
    inputs, targets = _test_split(data)
    given = _input_description(data, inputs)
    _check_outputs(net, inputs, given["labels"], type(data).__name__)
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    description = {
        "model": f"{module_class.__module__}.{module_class.__qualname__}",
        "hyper_parameters": _plain(dict(module.hparams)),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "source": origin(checkpoint, content),
        "data": type(data).__name__,
        "test_inputs": len(inputs),
        **given,
    }
    return Source(
        net, inputs, targets, description, lambda most: _training_inputs(fresh_copy(data), most)
    )


def fresh_copy(data: pl.LightningDataModule) -> pl.LightningDataModule:
    """A datamodule with the same arguments that no Trainer holds: whole, and on the CPU."""
    return type(data)(**_plain(dict(data.hparams)))


def _input_description(data: pl.LightningDataModule, inputs: np.ndarray) -> dict[str, Any]:
    """Task, input, labels and preprocessing; any data module says by attributes that it is images.

    Those are ``class_names``, ``mean``, ``std`` and ``preprocessing``, as of
    :class:`~datamodules.BaseImageDataModule`.
    """
    given: dict[str, Any] = {"shape": list(inputs.shape[1:]), "dtype": "float32"}
    said = {name: getattr(data, name, None) for name in ("class_names", "mean", "std")}
    preprocessing = getattr(data, "preprocessing", None)
    if inputs.ndim != 4 or preprocessing is None or None in said.values():
        return {"task": "tensor", "input": given, "labels": None}
    if preprocessing not in PREPROCESSINGS:
        raise ValueError(
            f"{type(data).__name__} has preprocessing {preprocessing!r}, which no reader knows; "
            f"set it to {' or '.join(map(repr, PREPROCESSINGS))}"
        )
    for name in ("mean", "std"):
        given[name] = np.asarray(said[name], dtype=float).reshape(-1).tolist()
    return {
        "task": "image-classification",
        "input": given,
        "labels": [str(name) for name in said["class_names"] or ()],
        "preprocessing": preprocessing,
    }


def _check_outputs(net: nn.Module, inputs: np.ndarray, labels: list[str] | None, data: str) -> None:
    """Raises ValueError where a classifier has not one output per label."""
    if labels is None:
        return
    with torch.no_grad():
        shape = tuple(net(torch.from_numpy(inputs[:1])).shape[1:])
    if shape != (len(labels),):
        raise ValueError(
            f"the net returns outputs of shape {shape} per image and {data} has {len(labels)} "
            "classes, so that labels and outputs would not belong together; train it with "
            f"--model.init_args.num_classes {len(labels)}, or leave that out"
        )


def _test_split(data: pl.LightningDataModule) -> tuple[np.ndarray, np.ndarray]:
    data.prepare_data()
    data.setup("test")
    inputs, targets, size = [], [], 0
    for batch in data.test_dataloader():
        if not (isinstance(batch, tuple | list) and len(batch) == 2):
            raise ValueError(
                f"{type(data).__name__} yields no pairs of inputs and targets; only such models "
                "are exported in these formats"
            )
        given, wanted = _transferred(data, batch)
        if not given.is_floating_point():
            raise ValueError(
                f"{type(data).__name__} yields inputs of {given.dtype}; models of numbers are "
                "exported in these formats, not of tokens or indices"
            )
        inputs.append(given.cpu())
        targets.append(wanted.cpu())
        size += given.numel() * 4
        if size > _MOST_BYTES:
            break
    if not inputs:
        raise ValueError(f"{type(data).__name__} has no test split to compare an export on")
    return torch.cat(inputs).float().numpy(), torch.cat(targets).numpy()


def _transferred(data: pl.LightningDataModule, batch: Any) -> Any:
    """A batch after the data module's own hooks, which Lightning calls in every loop."""
    try:
        return data.on_after_batch_transfer(data.on_before_batch_transfer(batch, 0), 0)
    except AttributeError as error:
        if data.trainer is not None:
            raise
        raise ValueError(
            f"a batch transfer hook of {type(data).__name__} uses self.trainer, which is None in "
            f"an export ({error}); ask first: self.trainer is not None and self.trainer.training"
        ) from error


def _training_inputs(data: pl.LightningDataModule, most: int) -> np.ndarray:
    """The first inputs of an epoch of training, whose order the datamodule's own seed decides."""
    data.setup("fit")
    inputs: list[torch.Tensor] = []
    for batch in data.train_dataloader():
        inputs.append(_transferred(data, batch)[0].cpu())
        if sum(map(len, inputs)) >= most:
            break
    return torch.cat(inputs)[:most].float().numpy()


def _class(path: str, base: type) -> Any:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no class {path}, which the checkpoint needs") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{path} is not a {base.__name__}")
    return found


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """Hyperparameters without LightningCLI's notes."""
    return {name: value for name, value in arguments.items() if not name.startswith("_")}
