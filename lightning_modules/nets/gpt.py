"""One GPT: from the course's MiniGPT, its defaults, to GPT-2, with every switch on."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.nets.kv_cache import Cache, check_length

# What the course's MiniGPT lacks on the way to GPT-2.
GPT2_SWITCHES = {
    "pre_norm": True,
    "gelu": True,
    "output_projection": True,
    "qkv_bias": True,
    "tied": True,
}


@dataclass(frozen=True)
class GPTConfig:
    """Shape of a :class:`GPT`. The defaults are the course's: 25,103 parameters.

    Args:
        vocab_size: tokens that exist.
        context: positions, the longest input.
        width: size of a token's vector.
        hidden: size of the layer inside a block's MLP, 0 for four times the width.
        layers: blocks.
        heads: attention heads, a divisor of the width.
        output_projection: a linear layer after the heads.
        pre_norm: normalize what enters attention and MLP, and once at the end, as GPT-2
            (otherwise what leaves them, as in Vaswani et al., Attention is all you need, 2017).
        gelu: GELU (its tanh form) in the MLP, otherwise ReLU.
        qkv_bias: biases in the projections to query, key and value.
        bias: biases in all other linear layers of a block and in the norms.
        tied: logits from the token embedding, otherwise from a linear layer of their own.
        dropout: probability, applied where GPT-2 applies it.

    Raises:
        ValueError: a width that the heads do not divide, or a size below 1.
    """

    vocab_size: int = 15
    context: int = 32
    width: int = 32
    hidden: int = 0
    layers: int = 2
    heads: int = 1
    output_projection: bool = False
    pre_norm: bool = False
    gelu: bool = False
    qkv_bias: bool = False
    bias: bool = True
    tied: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context", "width", "layers", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(
                f"width={self.width} cannot be divided among heads={self.heads}; take a multiple"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, got {self.dropout}")


class Attention(nn.Module):
    """Causal multi-head self-attention; ``layer`` is whose keys and values a cache is asked for."""

    def __init__(self, config: GPTConfig, layer: int = 0) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.dropout = config.heads, config.dropout
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=config.qkv_bias)
        self.out: nn.Module = nn.Identity()
        if config.output_projection:
            self.out = nn.Linear(config.width, config.width, bias=config.bias)

    def split(self, x: Tensor, cache: Cache | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of x (B, T, C), each (B, heads, T, C / heads).

        With a cache, keys and values of earlier tokens as well.
        """
        # In this order the gradients of the three come together without another copy.
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)  # (B, T, H, C / H)
        if cache is not None:
            k, v = cache.update(k, v, self.layer)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def weights(self, x: Tensor) -> Tensor:
        """Attention from query (row) to key: (B, heads, T, T), rows sum to 1; for figures."""
        q, k, _ = self.split(x)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        return scores.masked_fill(future, float("-inf")).softmax(dim=-1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Sums of the values, weighted by :meth:`weights`: (B, heads, T, C / heads).

        A mask is added to the scores in place of the causal one.
        """
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=mask is None)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        q, k, v = self.split(x, cache)  # (B, H, T, C / H)
        x = self.attend(q, k, v, None if cache is None else cache.mask)
        return self.out(x.transpose(1, 2).flatten(2))  # (B, T, C)


class Block(nn.Module):
    """Attention, then an MLP for each position, each with a residual connection."""

    def __init__(self, config: GPTConfig, layer: int = 0) -> None:
        super().__init__()
        hidden = config.hidden or 4 * config.width
        self.pre_norm, self.gelu = config.pre_norm, config.gelu
        self.norm1 = nn.LayerNorm(config.width, bias=config.bias)
        self.attn = Attention(config, layer)
        self.norm2 = nn.LayerNorm(config.width, bias=config.bias)
        self.up = nn.Linear(config.width, hidden, bias=config.bias)
        self.down = nn.Linear(hidden, config.width, bias=config.bias)
        self.drop = nn.Dropout(config.dropout)

    def mlp(self, x: Tensor) -> Tensor:
        x = self.up(x)  # (B, T, hidden)
        return self.down(F.gelu(x, approximate="tanh") if self.gelu else F.relu(x))

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        if self.pre_norm:
            x = x + self.drop(self.attn(self.norm1(x), cache))
            return x + self.drop(self.mlp(self.norm2(x)))
        x = self.norm1(x + self.drop(self.attn(x, cache)))
        return self.norm2(x + self.drop(self.mlp(x)))


class GPT(nn.Module):
    """Decoder-only transformer with learned positions.

    Pre-norm nets start as GPT-2 does: weights from N(0, 0.02), those that write into the residual
    stream divided by sqrt(2 * layers). Post-norm nets keep torch's own start, as in the course.

    Source: A. Radford et al., Language models are unsupervised multitask learners, 2019.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.vocab_size, config.width)
        self.position = nn.Embedding(config.context, config.width)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        if config.pre_norm:
            self.norm = nn.LayerNorm(config.width, bias=config.bias)
        if not config.tied:
            self.head = nn.Linear(config.width, config.vocab_size, bias=config.bias)
        if config.pre_norm:
            self._init_as_gpt2()

    def _init_as_gpt2(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                if name.endswith("bias"):
                    nn.init.zeros_(parameter)
                continue
            writes = name.endswith(("out.weight", "down.weight"))
            scale = 1 / math.sqrt(2 * self.config.layers) if writes else 1.0
            nn.init.normal_(parameter, std=0.02 * scale)

    def forward(
        self,
        ids: Tensor,
        targets: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Logits of the next tokens, or their loss.

        Both are in one net so that torch.compile sees the logits and their loss together.

        Args:
            ids: tokens (B, T), T <= context.
            targets: the token after each, (B, T); -100 does not count.
            cache: keys and values of the tokens before.

        Returns:
            Logits (B, T, vocab_size); with targets their mean loss, a scalar.
        """
        x = self.hidden_states(ids, cache)
        return self.logits(x) if targets is None else self.loss(x, targets)

    def hidden_states(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Vectors (B, T, C) of which the logits are made; ids follow the tokens of a cache."""
        x = self.token(ids)  # (B, T, C)
        if cache is None:
            check_length(ids.shape[1], self.config.context)
            x = x + self.position.weight[: ids.shape[1]]
        else:
            x = x + self.position(cache.positions)
        return self.through_blocks(self.drop(x), cache)

    def through_blocks(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, T, C) after all blocks and the last norm."""
        for block in self.blocks:
            x = block(x, cache)
        return self.norm(x) if self.config.pre_norm else x

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., vocab_size) of hidden states (..., C)."""
        return F.linear(hidden, self.token.weight) if self.config.tied else self.head(hidden)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of the last hidden states (B, T, C)."""
        return F.cross_entropy(self.logits(hidden).flatten(0, 1), targets.flatten())
