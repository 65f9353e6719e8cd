"""Other implementations of the functions of a net, put into its modules and taken out again."""

import importlib
from collections.abc import Callable, Container, Sequence
from types import MethodType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.nets.causal_loss import CausalLoss
from lightning_modules.nets.gpt import GPT, Attention, Block

# What a module of operators may define.
LAYER_NORM, BIAS_GELU, ATTENTION, CROSS_ENTROPY, RESIDUAL_NORM = NAMES = (
    "layer_norm",
    "bias_gelu",
    "causal_attention",
    "cross_entropy",
    "residual_norm",
)


class Kernels:
    """The functions of a module of operators, in the places of a net's own.

    Only methods of the net's modules are replaced, so that weights keep their names.

    Args:
        net: with ``nn.LayerNorm``, or the modules of :mod:`lightning_modules.nets.gpt`, or a
            :class:`~lightning_modules.nets.causal_loss.CausalLoss`.
        ops: import path of a module that defines one or more of

            - ``layer_norm(x, weight, bias, eps)``, over the last dimension,
            - ``bias_gelu(x, bias)``, GELU of x + bias in the form with a tanh,
            - ``causal_attention(q, k, v)`` of (B, heads, T, width of a head),
            - ``cross_entropy(hidden, weight, targets)``, of the logits ``hidden @ weight.T``; a
              fourth argument, ``vocab_size``, comes where the rows from there on are padding,
            - ``residual_norm(x, branch, weight, bias, eps, dropout, seed, subsequence)``, the sum
              ``x + dropout(branch)`` and its layer norm, in nets with ``pre_norm``; the seed, one
              int64, and the subsequence, a number, decide what is dropped.
        only: names of the functions that are taken, each of which must be there and have a place;
            None for all that there are.

    Attributes:
        replaced: number of places in the net by name of the function.

    Raises:
        ValueError: a module that is not there, or defines none of these; a net without a place for
            any of them, or for one of ``only``; dropout within attention, where a kernel of
            attention, which has none, is to be taken.
    """

    def __init__(self, net: nn.Module, ops: str, only: Sequence[str] | None = None) -> None:
        functions = _functions(ops, only)
        places = _places(net, functions)
        self.replaced = {name: sum(one == name for one, *_ in places) for name in functions}
        unused = [name for name, count in self.replaced.items() if not count]
        if not places:
            raise ValueError(
                f"nothing in {type(net).__name__} was replaced: {ops} has {', '.join(functions)}, "
                "and the net has no place for it; configs/mini_gpt_kernels.yaml is a net with all"
            )
        if only is not None and unused:
            raise ValueError(
                f"{type(net).__name__} has no place for {', '.join(unused)}; take it out of only"
            )
        self._methods = [(module, name, method) for _, module, name, method in places]

    def switch(self, on: bool) -> None:
        """Puts the methods before those of the classes, or takes them away again."""
        for module, name, method in self._methods:
            vars(module).pop(name, None)
            if on:
                setattr(module, name, method)

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in self.replaced.items())


def check_only(names: Sequence[str] | None) -> None:
    """Raises ValueError where ``names``, if there are any, are not those of functions."""
    wrong = sorted(set(names or ()) - set(NAMES))
    if names is not None and (wrong or not names):
        got = ", ".join(wrong) or "an empty list"
        raise ValueError(f"only must name some of {', '.join(NAMES)}, got {got}")


def _functions(path: str, only: Sequence[str] | None) -> dict[str, Callable[..., Tensor]]:
    check_only(only)
    names = NAMES if only is None else only
    try:
        module = importlib.import_module(path)
    except ImportError as error:
        raise ValueError(
            f"the operators of {path} cannot be imported: {error}; those of the course are in "
            "course.kernels.ops"
        ) from error
    found = {name: getattr(module, name) for name in names if hasattr(module, name)}
    missing = [name for name in names if name not in found]
    if not found:
        raise ValueError(f"{path} defines none of {', '.join(names)}")
    if only is not None and missing:
        raise ValueError(f"{path} does not define {', '.join(missing)}; take it out of only")
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
        # Trained without a cache, there is no mask but the causal one.
        ATTENTION: lambda self, q, k, v, mask: functions[ATTENTION](q, k, v),
        CROSS_ENTROPY: lambda self, x, targets: functions[CROSS_ENTROPY](
            x, *_output(self, targets)
        ),
        RESIDUAL_NORM: lambda self, x, cache=None: _through_blocks(
            self, x, functions[RESIDUAL_NORM]
        ),
    }
    return [
        (name, module, method, MethodType(made[name], module))
        for module in net.modules()
        for name, method in _of(module, functions)
        if name in functions
    ]


def _of(module: nn.Module, wanted: Container[str]) -> list[tuple[str, str]]:
    """What can be replaced in a module, without those within it: function and method."""
    if isinstance(module, nn.LayerNorm):
        fits = len(module.normalized_shape) == 1 and module.elementwise_affine
        return [(LAYER_NORM, "forward")] if fits else []
    if isinstance(module, Block):
        return [(BIAS_GELU, "mlp")] if module.gelu and module.up.bias is not None else []
    if isinstance(module, Attention):
        if module.dropout and ATTENTION in wanted:
            raise ValueError(
                "a kernel of attention has no dropout; set --model.init_args.dropout 0"
            )
        return [(ATTENTION, "attend")]
    if isinstance(module, GPT):
        biased = not module.config.tied and module.head.bias is not None
        blocks = [(RESIDUAL_NORM, "through_blocks")] if module.config.pre_norm else []
        return blocks if biased else [*blocks, (CROSS_ENTROPY, "loss")]
    return [(CROSS_ENTROPY, "loss")] if isinstance(module, CausalLoss) else []


def _output(net: GPT | CausalLoss, targets: Tensor) -> tuple[Any, ...]:
    """What a net's loss needs beside the hidden states."""
    if isinstance(net, CausalLoss):
        return net.head, targets, net.vocab_size
    return (net.token.weight if net.config.tied else net.head.weight), targets


def _through_blocks(net: GPT, x: Tensor, residual_norm: Callable[..., Any]) -> Tensor:
    """:meth:`GPT.through_blocks` in training, each sum together with the norm that reads it."""
    blocks = cast(Sequence[Block], net.blocks)
    seed = torch.randint(1 << 62, (1,), device=x.device)
    norms = [*(norm for block in blocks for norm in (block.norm1, block.norm2)), net.norm][1:]

    def add(x: Tensor, branch: Tensor, at: int) -> tuple[Tensor, Tensor]:
        norm = norms[at]
        dropout = net.config.dropout if net.training else 0.0
        # In the type of what is added, under autocast half of the traffic.
        x = x.to(branch.dtype)
        return residual_norm(x, branch, norm.weight, norm.bias, norm.eps, dropout, seed, at)

    normal = blocks[0].norm1(x)
    for number, block in enumerate(blocks):
        x, normal = add(x, block.attn(normal), 2 * number)
        x, normal = add(x, block.mlp(normal), 2 * number + 1)
    return normal
