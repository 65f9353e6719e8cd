"""Weights from elsewhere: which tensor of a file is which of a net, and a run made of them."""

import hashlib
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn

from training.checkpoint_io import DurableCheckpointIO


def match(weights: Mapping[str, Tensor], net: nn.Module) -> dict[str, str]:
    """The name in ``weights`` for each name in the state dict of ``net``.

    Names that agree, but for a prefix that all have in common, decide. Otherwise shape and kind
    (``weight``, ``bias``) do, and among equal ones their order, if the names count up in it.

    Raises:
        ValueError: a tensor without a counterpart, or several that could be it.
    """
    wanted = net.state_dict()
    first = next(iter(wanted))
    for name in weights:
        prefix = name.removesuffix(first)
        if name == prefix + first and set(weights) == {prefix + other for other in wanted}:
            pairs = {other: prefix + other for other in wanted}
            return _checked(pairs, weights, wanted)
    groups, there = _by_shape(wanted), _by_shape(weights)
    for key in [*groups, *there]:
        ours, theirs = groups.get(key, []), there.get(key, [])
        if len(ours) != len(theirs):
            rest = [f"{n} {tuple(t.shape)}" for n, t in weights.items() if _key(n, t) not in groups]
            raise ValueError(
                f"the net has {_said(ours, key)} and the file {_said(theirs, key)}"
                + (f"; without a counterpart are {', '.join(rest)}" if rest else "")
                + "; name the model of the file and its sizes, --model.ARGUMENT VALUE"
            )
        if sorted(theirs, key=_natural) != theirs:
            raise ValueError(
                f"{', '.join(theirs)} of the file have the same shape {key[1]} and do not come in "
                "the order of their names, so which is which is not certain; rename them to "
                f"{', '.join(ours)}"
            )
    pairs = {
        our: their for key in groups for our, their in zip(groups[key], there[key], strict=True)
    }
    return {name: pairs[name] for name in wanted}


def check_values(pairs: Mapping[str, str], weights: Mapping[str, Tensor]) -> None:
    """Raises ValueError for a tensor that is not of floating point, or holds NaN or infinity."""
    for their in pairs.values():
        if not weights[their].is_floating_point():
            raise ValueError(
                f"{their} of the file is {weights[their].dtype}, as in a quantized model; import "
                "the weights of the float model"
            )
        if not weights[their].isfinite().all():
            raise ValueError(f"{their} of the file holds NaN or infinity: its training diverged")


def _checked(
    pairs: dict[str, str], weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> dict[str, str]:
    for our, their in pairs.items():
        if weights[their].shape != wanted[our].shape:
            raise ValueError(
                f"{their} of the file is {tuple(weights[their].shape)} and {our} of the net "
                f"{tuple(wanted[our].shape)}; give the sizes of the file's net "
                "(--model.ARGUMENT VALUE)"
            )
    return pairs


def _by_shape(weights: Mapping[str, Tensor]) -> dict[tuple[str, tuple[int, ...]], list[str]]:
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name, tensor in weights.items():
        groups.setdefault(_key(name, tensor), []).append(name)
    return groups


def _key(name: str, tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    return name.rpartition(".")[2], tuple(tensor.shape)


def _said(names: list[str], key: tuple[str, tuple[int, ...]]) -> str:
    return f"{', '.join(names)} of shape {key[1]}" if names else f"no {key[0]} of shape {key[1]}"


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def write_run(
    run: Path, module: pl.LightningModule, data: pl.LightningDataModule, origin: Path
) -> Path:
    """Writes ``checkpoints/best.ckpt`` of a run that no training made.

    It holds what a command needs that uses a checkpoint, and neither optimizer nor loops, without
    which no fit resumes.

    Args:
        run: folder of the run, which must not hold checkpoints.
        module: with the weights.
        data: what the weights are for: its test split and its normalization.
        origin: the file that the weights come from.

    Raises:
        ValueError: the run holds checkpoints, or the file cannot be written.
    """
    path = run / "checkpoints" / "best.ckpt"
    if path.parent.exists():
        raise ValueError(f"{run} holds a run already; take another name")
    checkpoint = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": version("lightning"),
        "state_dict": module.state_dict(),
        module.CHECKPOINT_HYPER_PARAMS_KEY: dict(module.hparams),
        data.CHECKPOINT_HYPER_PARAMS_KEY: dict(data.hparams),
        "imported": {
            "path": str(origin),
            "sha256": hashlib.sha256(origin.read_bytes()).hexdigest(),
        },
    }
    DurableCheckpointIO().save_checkpoint(checkpoint, path)
    return path
