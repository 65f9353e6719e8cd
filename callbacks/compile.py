"""torch.compile as a line of YAML."""

from difflib import get_close_matches
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import nn


class Compile(pl.Callback):
    """Compiles the module's ``net`` for training, in place, so that checkpoint keys stay.

    Only ``net.forward`` is compiled, so that weights keep their names.
    Validation, with its other batch sizes, and everything after the fit run the net as it is
    written, so that nothing is compiled a second time for them.

    Together with ``strategy: cuda_graph`` the compiled kernels are what the graph holds, which is
    what pays most for a transformer. The first step of a fit waits for the compiler, from some
    seconds to a minute.

    Args:
        mode: of torch.compile: ``default``, ``max-autotune-no-cudagraphs``; without a graph
            strategy also ``reduce-overhead``, which makes CUDA graphs of its own.
        without_gpu: ``compile`` compiles for the CPU, too; ``skip`` leaves the net as it is there.
        options: of torch.compile, in place of a mode, such as ``{use_fast_math: true}``, with which
            a GPU's tanh has the 11 bits that bfloat16 does not keep.

    Raises:
        ValueError: an unknown mode or option, both of them, a module without ``net``, or
            ``reduce-overhead`` within another CUDA graph.

    Example::

        callbacks+:
          - class_path: callbacks.Compile
            init_args: {options: {use_fast_math: true}}
    """

    def __init__(
        self,
        mode: str = "default",
        without_gpu: Literal["compile", "skip"] = "compile",
        options: dict[str, bool | int | str] | None = None,
    ) -> None:
        modes = list(dict.fromkeys(("default", *torch._inductor.list_mode_options())))
        if mode not in modes:
            raise ValueError(f"mode must be one of {', '.join(modes)}, got {mode!r}")
        if without_gpu not in ("compile", "skip"):
            raise ValueError(f"without_gpu must be compile or skip, got {without_gpu!r}")
        if options:
            _check_options(options, mode)
        self.mode = mode
        self.options = options
        self.without_gpu = without_gpu
        self._compiled: Any = None

    # Not before: the model summary and TensorBoard's graph page run the net in ways of their own,
    # and torch.compile remembers of a net that it could not compile it there.
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        net = _net(pl_module)
        if self.without_gpu == "skip" and trainer.strategy.root_device.type != "cuda":
            return
        own_graphs = self.mode in ("reduce-overhead", "max-autotune")
        if own_graphs and getattr(trainer.strategy, "captures", False):
            raise ValueError(
                f"mode {self.mode} makes CUDA graphs of its own, which cannot be part of those of "
                "strategy cuda_graph; take mode default or max-autotune-no-cudagraphs"
            )
        # Not net.compile(): with torch 2.11 that runs an nn.Sequential eagerly without a word.
        mode = None if self.mode == "default" else self.mode
        options: Any = self.options or None
        self._compiled = torch.compile(net.forward, mode=mode, options=options, dynamic=False)
        self._switch(net, on=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._switch(_net(pl_module), on=False)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._switch(_net(pl_module), on=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._switch(_net(pl_module), on=False)
        self._compiled = None

    def _switch(self, net: nn.Module, on: bool) -> None:
        """Puts the compiled ``forward`` before the class's own, or takes it away again."""
        vars(net).pop("forward", None)
        if on and self._compiled is not None:
            net.forward = self._compiled


def _check_options(options: dict[str, Any], mode: str) -> None:
    if mode != "default":
        raise ValueError(f"torch.compile takes a mode or options; take out mode {mode} or options")
    known = torch._inductor.list_options()
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"torch.compile has no option {name}{meant}")


def _net(pl_module: pl.LightningModule) -> nn.Module:
    net = getattr(pl_module, "net", None)
    if not isinstance(net, nn.Module):
        raise ValueError(
            f"{type(pl_module).__name__} has no net to compile; take callbacks.Compile out"
        )
    return net
