"""The course's kind of GPT written as a net of GPT-2's kind that computes the same function.

llama.cpp and transformers run GPT-2's architecture, and the course's MiniGPT is another one: it
normalizes after each layer and has ReLU, no projection after its heads and its own output layer.
"""

import math
from typing import Any

import torch
from torch import Tensor

from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, Block, GPTConfig

# Height of the two constants that make the norm before attention linear.
_STEADY = 3e3
# relu(x) is gelu(c x) / c, up to 0.17 / c; and x is (gelu(c x) - gelu(-c x)) / c.
_SHARP = 1e3
# Share of a vector's mean that is kept beside it, too small to be noticed by the next norm.
_TRACE = 0.01
# Loudest the stream may get: its square must be a float32.
_LOUDEST = 1e17


def as_gpt2(net: GPT) -> GPT:
    """Rewrites a post-norm net; equal logits up to about 1e-3 of their size.

    The residual stream of the result is twice as wide (D to 2 D) and holds in its first half

    - before attention the centered vector s that the course's layer reads, beside it a trace of its
      mean and two constants so large that the norm divides all by nearly the same number;
    - before an MLP the centered sum u that the course's norm reads, with the constants taken
      out again, so that the norm there is the course's own.

    What is in a residual stream can only be added to: so each MLP writes its result many
    times louder than what is there, and the norms do not care for loudness. A course block takes
    two blocks, the second of which only normalizes; the last one's is the net's final norm.

    Raises:
        ValueError: a pre-norm net, or one with more than four layers or a width below 4.
    """
    old = net.config
    louder = min(2e4, _LOUDEST ** (1 / (2 * old.layers - 1)))
    if old.pre_norm or louder < 200 or old.width < 4:
        raise ValueError(
            "only a post-norm net of at most four layers can be written as GPT-2; train with "
            "--model.init_args.pre_norm=true --model.init_args.gelu=true "
            "--model.init_args.output_projection=true --model.init_args.tied=true"
        )
    config = GPTConfig(
        vocab_size=old.vocab_size,
        context=old.context,
        width=2 * old.width,
        hidden=(old.hidden or 4 * old.width) + 2 * old.width,
        layers=2 * old.layers - 1,
        heads=old.heads,
        **(GPT2_SWITCHES | {"tied": False}),
    )
    new = GPT(config).eval().requires_grad_(False)
    for parameter in new.parameters():
        parameter.zero_()
    _embed(net, new)
    blocks: list[Any] = list(new.blocks)
    loud = 1.0
    for index, block in enumerate(net.blocks):
        assert isinstance(block, Block)
        _attend(block, blocks[2 * index], loud)
        loud *= louder
        _mlp(block, blocks[2 * index], loud)
        if index + 1 < old.layers:
            loud *= louder
            _normalize(block, blocks[2 * index + 1], loud)
    _output(net, new)
    return new


def _center(width: int) -> Tensor:
    return torch.eye(width) - 1 / width


def _bias(module: torch.nn.Module, size: int) -> Tensor:
    bias = getattr(module, "bias", None)
    return torch.zeros(size) if bias is None else bias.detach().float().cpu()


def _weight(module: torch.nn.Module) -> Tensor:
    return module.weight.detach().float().cpu()  # type: ignore[union-attr, operator]


def _embed(net: GPT, new: GPT) -> None:
    width = net.config.width
    for old, embedding in ((net.token, new.token), (net.position, new.position)):
        embedding.weight[:, :width] = _weight(old) @ _center(width)
        embedding.weight[:, width + 2] = _TRACE * _weight(old).mean(dim=1)
    new.position.weight[:, width] = _STEADY
    new.position.weight[:, width + 1] = -_STEADY


def _attend(old: Block, new: Block, loud: float) -> None:
    width, heads = old.attn.qkv.in_features, old.attn.heads
    size = width // heads
    # The norm divides by _STEADY / sqrt(width), nearly.
    new.norm1.weight[:width] = new.norm1.weight[width + 2] = _STEADY / math.sqrt(width)
    weight = _weight(old.attn.qkv).unflatten(0, (3, heads, size))  # (3, H, d, D)
    bias = _bias(old.attn.qkv, 3 * width).view(3, heads, size)
    # A mean m leaves the norm as trace m (1 - 1 / 2D), and everything else less trace m / 2D.
    share = _TRACE / (2 * width)
    mean = weight.sum(dim=-1) * (1 + share) / (_TRACE - share)
    # Heads are twice as wide, the added half is zero; scores are divided by its square root.
    scale = torch.tensor([math.sqrt(2), 1.0, 1.0]).view(3, 1, 1)
    into = new.attn.qkv.weight.view(3, heads, 2 * size, 2 * width)
    into[:, :, :size, :width] = weight * scale[..., None]
    into[:, :, :size, width + 2] = mean * scale
    new.attn.qkv.bias.view(3, heads, 2 * size)[:, :, :size] = bias * scale
    out = torch.eye(width)
    if isinstance(old.attn.out, torch.nn.Linear):
        out = _weight(old.attn.out)
    assert isinstance(new.attn.out, torch.nn.Linear)
    new.attn.out.weight.view(2 * width, heads, 2 * size)[:width, :, :size] = (
        loud * (_center(width) @ out)
    ).view(width, heads, size)
    new.attn.out.bias[:width] = loud * (_center(width) @ _bias(old.attn.out, width))
    new.attn.out.bias[width] = -loud * _STEADY
    new.attn.out.bias[width + 1] = loud * _STEADY


def _norm(old: torch.nn.LayerNorm, new: torch.nn.LayerNorm) -> None:
    """The same norm, where the other half of the stream is zero."""
    width = len(old.weight)
    new.weight[:width] = _weight(old) / math.sqrt(2)
    new.bias[:width] = _bias(old, width)


def _identity_rows(new: Block, width: int, first: int) -> None:
    """Rows of the MLP from ``first`` on that return its input and its negative."""
    new.up.weight[first : first + width, :width] = _SHARP * torch.eye(width)
    new.up.weight[first + width : first + 2 * width, :width] = -_SHARP * torch.eye(width)


def _identity(width: int) -> Tensor:
    return torch.cat([torch.eye(width), -torch.eye(width)], dim=1) / _SHARP  # (D, 2 D)


def _mlp(old: Block, new: Block, loud: float) -> None:
    hidden, width = old.up.weight.shape
    _norm(old.norm1, new.norm2)
    sharp = 1.0 if old.gelu else _SHARP
    new.up.weight[:hidden, :width] = sharp * _weight(old.up)
    new.up.bias[:hidden] = sharp * _bias(old.up, hidden)
    _identity_rows(new, width, hidden)
    down = torch.cat([_weight(old.down) / sharp, _identity(width)], dim=1)
    new.down.weight[:width] = loud * (_center(width) @ down)
    new.down.bias[:width] = loud * (_center(width) @ _bias(old.down, width))


def _normalize(old: Block, new: Block, loud: float) -> None:
    """A block whose attention is silent and whose MLP writes what the norm returns."""
    hidden, width = old.up.weight.shape
    _norm(old.norm2, new.norm2)
    _identity_rows(new, width, hidden)
    new.down.weight[:width, hidden:] = loud * (_center(width) @ _identity(width))
    new.down.weight[width + 2, hidden:] = loud * _TRACE * _identity(width).mean(dim=0)
    new.down.bias[width] = loud * _STEADY
    new.down.bias[width + 1] = -loud * _STEADY


def _output(net: GPT, new: GPT) -> None:
    width, vocab = net.config.width, net.config.vocab_size
    last = net.blocks[-1]
    assert isinstance(last, Block)
    _norm(last.norm2, new.norm)
    head = net.token if net.config.tied else net.head
    new.head.weight[:, :width] = _weight(head)
    # One dimension of the final norm is always one; there is the bias that GPT-2's output has not.
    new.norm.bias[width + 2] = 1.0
    new.head.weight[:, width + 2] = _bias(head, vocab)
