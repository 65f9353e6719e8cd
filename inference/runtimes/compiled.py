"""Exported programs through torch.compile, with single inputs as few kernels."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx


def compiled(program: fx.GraphModule) -> Any:
    """The program, compiled when it is first called; sizes of batches that differ share a program.

    For one input a library's convolution or product is one launch, much of it spent waiting. As
    sums of products they are what the compiler can put together with what comes before and after.

    Args:
        program: the module of a ``torch.export`` program.
    """
    aten = torch.ops.aten
    own = {aten.conv2d.default: convolution, aten.linear.default: product}
    for node in list(program.graph.nodes):
        if node.op == "call_function" and node.target in own:
            node.target = own[node.target]
        elif node.target is aten._assert_tensor_metadata.default:
            # It takes "cuda" and "cuda:0" for different devices, and the artifact is checked.
            program.graph.erase_node(node)
    program.recompile()
    return torch.compile(program)


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """``conv2d``; of a batch of one (1, C, H, W) as sums over the pixels under the kernel."""
    if len(x) != 1 or groups != 1:
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    kernel = weight.shape[2:]
    pixels = F.unfold(x, kernel, dilation, padding, stride)  # (1, C * kernel, H' * W')
    summed = (weight.flatten(1).unsqueeze(-1).float() * pixels.float()).sum(1)
    if bias is not None:
        summed = summed + bias.unsqueeze(-1)
    height = (x.shape[2] + 2 * padding[0] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    return summed.to(x.dtype).view(1, len(weight), height, -1)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``linear``; of a single vector (1, C) as sums."""
    if x.numel() != weight.shape[1]:
        return F.linear(x, weight, bias)
    summed = (x.unsqueeze(-2).float() * weight.float()).sum(-1)
    return (summed if bias is None else summed + bias).to(x.dtype)
