"""Kernels of one's own in a training run."""

import importlib
import os
from collections.abc import Callable
from types import MethodType, ModuleType
from typing import Any

import lightning.pytorch as pl
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from lightning_modules.nets.gpt import GPT, Attention, Block

# What a module of operators may define.
LAYER_NORM, BIAS_GELU, ATTENTION, CROSS_ENTROPY = NAMES = (
    "layer_norm",
    "bias_gelu",
    "causal_attention",
    "cross_entropy",
)


class UseKernels(pl.Callback):
    """Trains the module's ``net`` with other implementations of its functions.

    Only methods of the net's modules are replaced, so that weights keep their names: checkpoints,
    exports and serving are as without it. Validation, and all that follows the fit, run the net as
    it is written.

    Args:
        ops: import path of a module that defines one or more of

            - ``layer_norm(x, weight, bias, eps)``, over the last dimension,
            - ``bias_gelu(x, bias)``, GELU of x + bias in the form with a tanh,
            - ``causal_attention(q, k, v)`` of (B, heads, T, width of a head),
            - ``cross_entropy(hidden, weight, targets)``, of the logits ``hidden @ weight.T``.

    Attributes:
        replaced: number of places in the net by name, from the fit's start on.

    Raises:
        ValueError: a module that is not there, or defines none of these; a run that is neither on a
            CUDA GPU nor in Triton's interpreter; a net without a place for any of them; dropout
            within attention, which a kernel of attention does not have.

    Example::

        callbacks+:
          - class_path: callbacks.UseKernels
            init_args: {ops: course.kernels.ops}
    """

    def __init__(self, ops: str) -> None:
        self.ops = ops
        self.replaced: dict[str, int] = {}
        self._methods: list[tuple[nn.Module, str, MethodType]] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        # Before Triton is imported: it decides then where its kernels run.
        on_gpu = trainer.strategy.root_device.type == "cuda"
        if not on_gpu and os.environ.get("TRITON_INTERPRET") != "1":
            raise ValueError(
                "callbacks.UseKernels needs a CUDA GPU; TRITON_INTERPRET=1 before the command runs "
                "the kernels in Triton's interpreter, which is slow"
            )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        functions = _functions(self.ops)
        net = getattr(pl_module, "net", None)
        places = _places(net, functions) if isinstance(net, nn.Module) else []
        self.replaced = {name: sum(one == name for one, *_ in places) for name in functions}
        if not places:
            raise ValueError(
                f"nothing in {type(pl_module).__name__} was replaced by {self.ops}, which has "
                f"{', '.join(functions)}; take callbacks.UseKernels out, or train a GPT: "
                "configs/mini_gpt_kernels.yaml"
            )
        self._methods = [(module, name, method) for _, module, name, method in places]
        counts = ", ".join(f"{name} {count}" for name, count in self.replaced.items())
        rank_zero_info(f"Kernels of {self.ops}, places in the net: {counts}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._switch(on=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._switch(on=False)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._switch(on=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._switch(on=False)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._switch(on=False)

    def _switch(self, on: bool) -> None:
        """Puts the methods before those of the classes, or takes them away again."""
        for module, name, method in self._methods:
            vars(module).pop(name, None)
            if on:
                setattr(module, name, method)


def _functions(path: str) -> dict[str, Callable[..., Tensor]]:
    try:
        module: ModuleType = importlib.import_module(path)
    except ModuleNotFoundError as missing:
        raise ValueError(
            f"there is no module {missing.name!r}, which --ops {path} needs; the course's own is "
            "course.kernels.ops, and its package Triton is in the extra kernels"
        ) from missing
    found = {name: getattr(module, name) for name in NAMES if hasattr(module, name)}
    if not found:
        raise ValueError(f"{path} defines none of {', '.join(NAMES)}")
    return found


def _places(
    net: nn.Module, functions: dict[str, Callable[..., Tensor]]
) -> list[tuple[str, nn.Module, str, MethodType]]:
    """Name of the function, module, name of the method and what takes its place."""
    made: dict[str, Callable[..., Any]] = {
        LAYER_NORM: lambda self, x: functions[LAYER_NORM](x, self.weight, self.bias, self.eps),
        BIAS_GELU: lambda self, x: self.down(
            functions[BIAS_GELU](F.linear(x, self.up.weight), self.up.bias)
        ),
        ATTENTION: lambda self, q, k, v: functions[ATTENTION](q, k, v),
        CROSS_ENTROPY: lambda self, x, targets: functions[CROSS_ENTROPY](
            x, _output_weight(self), targets
        ),
    }
    return [
        (name, module, method, MethodType(made[name], module))
        for module in net.modules()
        for name, method in _of(module)
        if name in functions
    ]


def _of(module: nn.Module) -> list[tuple[str, str]]:
    """What can be replaced in a module, without those within it: function and method."""
    if isinstance(module, nn.LayerNorm):
        fits = len(module.normalized_shape) == 1 and module.elementwise_affine
        return [(LAYER_NORM, "forward")] if fits else []
    if isinstance(module, Block):
        return [(BIAS_GELU, "mlp")] if module.gelu and module.up.bias is not None else []
    if isinstance(module, Attention):
        if module.dropout:
            raise ValueError(
                "a kernel of attention has no dropout; set --model.init_args.dropout 0"
            )
        return [(ATTENTION, "attend")]
    if isinstance(module, GPT):
        biased = not module.config.tied and module.head.bias is not None
        return [] if biased else [(CROSS_ENTROPY, "loss")]
    return []


def _output_weight(net: GPT) -> Tensor:
    return net.token.weight if net.config.tied else net.head.weight
