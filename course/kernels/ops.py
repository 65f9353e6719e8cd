"""The course's kernels as PyTorch operators, in the places of torch's own functions in a GPT.

An operator has what torch.compile and torch.export need of a function: a schema, an implementation
that can be traced without data, and a gradient. On a GPU it is a ``triton_op``, into which
torch.compile looks: it sees the launches and compiles them with what is around them. In Triton's
interpreter there is no launch to see, and wrap_triton of torch 2.11 refuses its kernels. There the
operator is opaque, and its shapes are told by a function of its own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op, triton_op

from course.kernels import environment

try:
    environment.choose(["triton"])
except environment.Unavailable as missing:
    raise ImportError(f"it {missing}") from missing

from course.kernels import rows
from course.kernels.attention import attention
from course.kernels.attention_backward import attention_backward
from course.kernels.cross_entropy import ROWS, linear_cross_entropy
from course.kernels.fused import bias_gelu_backward, bias_gelu_forward
from course.kernels.residual import residual_norm as residual_norm_forward
from course.kernels.residual import residual_norm_backward

Gradients = tuple[Tensor | None, ...]


def operator(name: str, run: Callable[..., Any], shapes: Callable[..., Any]) -> Any:
    """Registers ``torch.ops.gpu_learning.<name>``.

    Args:
        name: of the operator.
        run: launches kernels; its annotations are the operator's schema.
        shapes: returns empty tensors in place of the results, for the interpreter.
    """
    if environment.on_gpu():
        return triton_op(f"gpu_learning::{name}", run, mutates_args=())
    made = custom_op(f"gpu_learning::{name}", run, mutates_args=())
    made.register_fake(shapes)
    return made


def _like(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in tensors)


# LayerNorm


def _layer_norm_shapes(x: Tensor, *_: Any) -> tuple[Tensor, ...]:
    mean, rstd = (x.new_empty(len(x), dtype=torch.float32) for _ in range(2))
    return *_like(x), mean, rstd


_layer_norm = operator("layer_norm", rows.layer_norm, _layer_norm_shapes)
_layer_norm_backward = operator(
    "layer_norm_backward",
    rows.layer_norm_backward,
    lambda grad, x, weight, mean, rstd: _like(x, weight, weight),
)


def _keep_rows(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
    x, weight, bias, _ = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(x, weight, *output[1:])


def _layer_norm_gradients(ctx: Any, grad: Tensor, *_: Any) -> Gradients:
    by_x, by_weight, by_bias = _layer_norm_backward(grad, *ctx.saved_tensors)
    return by_x, by_weight, by_bias if ctx.has_bias else None, None


_layer_norm.register_autograd(_layer_norm_gradients, setup_context=_keep_rows)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """LayerNorm over the last dimension of x (..., C)."""
    return _layer_norm(x.flatten(0, -2), weight, bias, eps)[0].view(x.shape)


# Bias and GELU


_bias_gelu = operator("bias_gelu", bias_gelu_forward, lambda x, bias, tanh=False: _like(x)[0])
_bias_gelu_backward = operator(
    "bias_gelu_backward", bias_gelu_backward, lambda grad, x, bias, tanh=False: _like(x, bias)
)


def _keep_inputs(ctx: Any, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.tanh = inputs
    ctx.save_for_backward(*tensors)


def _bias_gelu_gradients(ctx: Any, grad: Tensor) -> Gradients:
    return *_bias_gelu_backward(grad, *ctx.saved_tensors, ctx.tanh), None


_bias_gelu.register_autograd(_bias_gelu_gradients, setup_context=_keep_inputs)


def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """GELU of x + bias, in GPT-2's form with a tanh; x is (..., C), bias (C,)."""
    return _bias_gelu(x, bias, True)


# Residual connection, dropout and LayerNorm


def _residual_norm_shapes(x: Tensor, branch: Tensor, *_: Any) -> tuple[Tensor, ...]:
    mean, rstd = (x.new_empty(len(x), dtype=torch.float32) for _ in range(2))
    return *_like(x, branch), mean, rstd


_residual_norm = operator("residual_norm", residual_norm_forward, _residual_norm_shapes)
_residual_norm_backward = operator(
    "residual_norm_backward",
    residual_norm_backward,
    lambda grad_sum, grad_normal, total, weight, *rest: _like(
        grad_sum, grad_normal, weight, weight[: None if rest[-1] else 0]
    ),
)


def _keep_sum(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
    _, _, weight, bias, seed, *numbers, _ = inputs
    total, _, mean, rstd = output
    ctx.has_bias = bias is not None
    ctx.numbers = numbers
    ctx.save_for_backward(total, weight, seed, mean, rstd)


def _residual_norm_gradients(ctx: Any, by_sum: Tensor, by_normal: Tensor, *_: Any) -> Gradients:
    by_x, by_branch, by_weight, by_bias = _residual_norm_backward(
        by_sum, by_normal, *ctx.saved_tensors, *ctx.numbers, ctx.has_bias
    )
    by_bias = by_bias if ctx.has_bias else None
    return by_x, by_branch, by_weight, by_bias, None, None, None, None


_residual_norm.register_autograd(_residual_norm_gradients, setup_context=_keep_sum)


def residual_norm(
    x: Tensor,
    branch: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    eps: float,
    dropout: float,
    seed: Tensor,
    subsequence: int = 0,
) -> tuple[Tensor, Tensor]:
    """``x + dropout(branch)``, of the type of x, and its LayerNorm, of the type of branch.

    Args:
        x: (..., C).
        branch: (..., C).
        weight: of the norm, (C,).
        bias: of the norm, (C,).
        eps: of the norm.
        dropout: probability.
        seed: one int64, which decides what is dropped.
        subsequence: of the numbers that are drawn with the seed; one for each place of a net.
    """
    total, normal, *_ = _residual_norm(
        x.flatten(0, -2), branch.flatten(0, -2), weight, bias, seed, subsequence, dropout, eps
    )
    return total.view(x.shape), normal.view(branch.shape)


# Attention


_attention = operator(
    "attention",
    attention,
    lambda q, k, v: (*_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)),
)
_attention_backward = operator(
    "attention_backward",
    attention_backward,
    lambda grad, q, k, v, out, lse: _like(q, k, v),
)


def _keep_attention(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs, *output)


def _attention_gradients(ctx: Any, grad: Tensor, _: Any) -> Gradients:
    return _attention_backward(grad, *ctx.saved_tensors)


_attention.register_autograd(_attention_gradients, setup_context=_keep_attention)


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of q, k, v (B, H, T, D)."""
    return _attention(q, k, v)[0]


# Cross-entropy


_cross_entropy = operator(
    "linear_cross_entropy",
    linear_cross_entropy,
    lambda hidden, weight, targets, rows=0, vocab_size=0, frozen=False: (
        hidden.new_empty((), dtype=torch.float32),
        *_like(hidden, weight[: 0 if frozen else None]),
    ),
)


def _keep_gradients(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
    ctx.frozen = inputs[-1]
    ctx.save_for_backward(*output[1:])


def _cross_entropy_gradients(ctx: Any, grad: Tensor, *_: Any) -> Gradients:
    by_hidden, by_weight = ctx.saved_tensors
    return grad * by_hidden, None if ctx.frozen else grad * by_weight, None, None, None, None


_cross_entropy.register_autograd(_cross_entropy_gradients, setup_context=_keep_gradients)


def cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, vocab_size: int = 0) -> Tensor:
    """Mean cross-entropy of the logits ``hidden @ weight.T``, which are never all there.

    Args:
        hidden: last hidden states (..., C).
        weight: of the output layer, (V, C).
        targets: tokens (...), of which -100 does not count.
        vocab_size: V, where weight has more rows, which are padding; 0 for all of them.
    """
    # Without a gradient of the weight there is memory for more rows, with which the product for the
    # hidden vectors, a narrow one, has tiles for more of a large GPU's multiprocessors.
    frozen = not weight.requires_grad
    count = 2 * ROWS if frozen else ROWS
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):  # autocast knows torch's own operators alone
        dtype = torch.get_autocast_dtype(kind)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    with torch.autocast(kind, enabled=False):
        rows = hidden.flatten(0, -2)
        return _cross_entropy(rows, weight, targets.flatten(), count, vocab_size, frozen)[0]
