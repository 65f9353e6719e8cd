"""Whether the settings of a run can be, and its parts belong together."""

import re
from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry
from lightning.pytorch.utilities.model_helpers import is_overridden

from training.values import choice

# Subcommand: what the model and the data module must have for it.
_HOOKS = {
    "validate": ("validation_step", "val_dataloader"),
    "test": ("test_step", "test_dataloader"),
    "predict": ("predict_step", "predict_dataloader"),
}


def check_settings(config: Any, keyed: Iterable[str], typed_rate: bool = False) -> None:
    """Refuses values that a run cannot have.

    Args:
        config: configuration of a subcommand.
        keyed: keys of the callbacks that every run has.
        typed_rate: the model's learning rate is an option of the command line.
    """
    if config.get("lr_scheduler") and not config.get("optimizer"):
        raise ValueError(
            "--lr_scheduler has no effect without --optimizer; add for example "
            "--optimizer torch.optim.Adam"
        )
    trainer = config.trainer
    for name, choices in _trainer_choices().items():
        value = trainer.get(name)
        if isinstance(value, str) and value.lower() not in choices:  # as Lightning reads most
            raise ValueError(choice(f"--trainer.{name}", value, choices))
    devices = trainer.get("devices", "auto")
    if not re.fullmatch(r"auto|-1|0*[1-9]\d*|(\d+,)+\d*|\[[\d, ]+\]", str(devices)):
        raise ValueError(
            "--trainer.devices must be auto, how many devices as a whole number above 0, or of "
            f"GPUs -1 for all of them or their numbers as [0,1], got {devices!r}"
        )
    for name in ("log_every_n_steps", "accumulate_grad_batches", "check_val_every_n_epoch"):
        if (trainer.get(name) or 1) < 1 or trainer.get(name) == 0:
            raise ValueError(f"--trainer.{name} must be at least 1, got {trainer.get(name)}")
    interval = trainer.get("val_check_interval")
    if isinstance(interval, int | float) and not interval > 0:
        raise ValueError(f"--trainer.val_check_interval must be above 0, got {interval}")
    if not (trainer.get("gradient_clip_val") or 0) >= 0:
        clip = trainer.gradient_clip_val
        raise ValueError(f"--trainer.gradient_clip_val must be at least 0, got {clip}")
    for part in (config.model, config.get("optimizer")):
        lr = ((part or {}).get("init_args") or {}).get("lr")
        if lr is not None and not 0 < float(lr) < float("inf"):
            raise ValueError(f"the learning rate must be a number above 0, got lr {lr}")
    if typed_rate:
        _refuse_unused_rate(config)
    listed = trainer.callbacks if isinstance(trainer.callbacks, list) else [trainer.callbacks]
    paths = {callback.get("class_path") for callback in listed if callback}
    for key in keyed:
        if config[key] and config[key].class_path in paths:
            raise ValueError(
                f"{config[key].class_path} is in trainer.callbacks and under the key {key}; "
                f"change the one that every run has with --{key}.<argument>, or take it out "
                f"with --{key} null"
            )
    if trainer.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"accelerator={trainer.accelerator} needs a CUDA GPU and torch sees none; "
            "gpu-learning doctor says why, --trainer.accelerator cpu trains without"
        )


def check_seed(seed: Any) -> None:
    """Refuses what no random number generator begins with; true and false choose none."""
    if isinstance(seed, int) and not 0 <= seed < 2**32:
        raise ValueError(f"--seed_everything must be from 0 to {2**32 - 1}, got {seed}")


def _trainer_choices() -> dict[str, list[str]]:
    """Names that the Trainer takes for arguments whose type allows any text."""
    return {
        "accelerator": ["auto", "gpu", *AcceleratorRegistry.available_accelerators()],
        "strategy": ["auto", *StrategyRegistry.available_strategies()],
        "gradient_clip_algorithm": ["norm", "value"],
        "profiler": ["advanced", "pytorch", "simple", "xla"],
    }


def _refuse_unused_rate(config: Any) -> None:
    """Refuses a learning rate of the model where another optimizer is used than the model's own."""
    lr = config.model.init_args.lr
    used = ((config.get("optimizer") or {}).get("init_args") or {}).get("lr", lr)
    if lr != used:
        raise ValueError(
            f"the model's lr {lr} has no effect, as the configuration names an optimizer, with lr "
            f"{used}; change that one with --optimizer.init_args.lr {lr}"
        )


def check_subcommand(name: str, model: LightningModule, data: Any) -> None:
    """Refuses a subcommand for which the model has no step or the data module no data."""
    if name not in _HOOKS or can_run(name, model, data):
        return
    step, loader = _HOOKS[name]
    lacks, what = (data, loader) if is_overridden(step, model) else (model, step)
    others = [f"gpu-learning {other}" for other in _HOOKS if can_run(other, model, data)]
    if getattr(model, "reads", None) == "tokens":
        others.append("gpu-learning generate, after gpu-learning export,")
    instead = f"; use {' or '.join(others)} instead" if others else ""
    raise ValueError(f"{type(lacks).__name__} has no {what}, so it cannot {name}{instead}")


def can_run(name: str, model: LightningModule, data: Any) -> bool:
    """Whether the model has a step for a subcommand, and the data module data."""
    step, loader = _HOOKS[name]
    # Without a predict_step Lightning calls forward.
    stepped = name == "predict" or is_overridden(step, model)
    given = not isinstance(data, LightningDataModule) or is_overridden(loader, data)
    return stepped and given


def check_parts(model: Any, data: Any, callbacks: Iterable[Any]) -> None:
    """Compares what the parts say that an example is; one that says nothing fits all."""
    yields = getattr(data, "yields", None)
    for part in (model, *callbacks):
        reads = getattr(part, "reads", None)
        if reads and yields and reads != yields:
            other = "take that callback out" if part is not model else "take a model that does"
            raise ValueError(
                f"{type(part).__name__} is for {reads}, and {type(data).__name__} yields {yields}; "
                f"name a data module that yields {reads} with --data, or {other}"
            )
    classes, outputs = getattr(data, "classes", None), getattr(model, "num_classes", None)
    if classes and outputs and len(classes) > outputs:
        raise ValueError(
            f"{type(data).__name__} has {len(classes)} classes, {type(model).__name__} tells "
            f"{outputs} apart; set --model.init_args.num_classes {len(classes)}, or choose some "
            "with --data.init_args.classes"
        )
