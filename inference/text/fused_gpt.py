"""A GPT whose decode step is a few Triton kernels."""

import importlib.util
import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from inference.text.cached_gpt import CachedGPT

WIDEST = 16_384  # inputs of a linear layer, of which a program takes whole rows of weights
MOST = 64  # sequences
OLDEST = (8, 0)  # compute capability: bfloat16, and copies into shared memory that overlap
TILE = 32 * 1024  # bytes of weights that a program holds, of the kernel for one sequence
TILES = 128  # columns of weights at once, of the kernel for several
ARGMAX = 1024
SHARED = 96 * 1024  # bytes of shared memory that a program may have on a GPU for desktops


class FusedGPT(CachedGPT):
    """Decodes as :class:`CachedGPT` does, with five kernels per block; prefills as it does.

    What lies between two layers is in float32, the logits too, so that with 16-bit weights less is
    rounded than in a :class:`CachedGPT`. It is for GPT-2 and nets like it: with norms before
    attention and MLP, and an output projection.

    Args:
        config, weights, slots, device, dtype: as for :class:`CachedGPT`.

    Raises:
        ValueError: Triton or the GPU is missing, a net of another kind, more than 64 slots.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        slots: int = 1,
        device: torch.device | str = "cuda",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        _check(config, slots, torch.device(device))
        super().__init__(config, weights, slots, device, dtype)
        net = self._net.config
        self._heads, self._size = net.heads, net.width // net.heads
        self._hidden = net.hidden or 4 * net.width
        self._pdl = False
        self._x = self._empty(slots, net.width)
        self._rows = self._empty(slots * max(net.width, self._hidden), dtype=dtype)
        self._queries = self._empty(slots, net.width, dtype=dtype)
        self._attended = self._empty(slots, net.width, dtype=dtype)
        self._between = self._empty(slots, self._hidden, dtype=dtype)
        self._last = self._empty(slots, net.width, dtype=dtype)
        self._logits = self._empty(slots, len(self._head))
        blocks = math.ceil(self.vocab_size / ARGMAX)
        self._largest = self._empty(slots, blocks)
        self._index = self._empty(slots, blocks, dtype=torch.int32)
        if self.device.type == "cuda":
            gpu = torch.cuda.get_device_properties(self.device)
            self._pdl = gpu.major >= 9
            self._arrange(gpu.multi_processor_count)
        else:
            self._arrange(processors=8)

    def _arrange(self, processors: int) -> None:
        """Divides the work among a GPU's processors."""
        self._processors = processors
        # Where one program per head would leave the GPU idle, several share its positions.
        self._most_parts = _power_below(processors // (self.slots * self._heads))
        self._parts = self._empty(self.slots, self._heads, self._most_parts, self._size)
        self._lse = self._empty(self.slots, self._heads, self._most_parts)

    def _empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, device=self.device, dtype=dtype)

    def decode(self, ids: Tensor, positions: Tensor, length: int) -> Tensor:
        from inference.text.kernels.tokens import embedding_kernel

        net = self._net
        self._launch(
            embedding_kernel,
            (self.slots,),
            *(ids, positions, net.token.weight, net.position.weight, self._x, self.width),
            BLOCK=_power(self.width),
        )
        for block, (keys, values) in zip(net.blocks, self._cache.layers, strict=True):
            attn: Any = block.attn
            self._linear(
                *(self._x, attn.qkv, self._queries, "qkv"),
                norm=block.norm1,
                cache=(keys, values, positions),
            )
            parts = self._attend(keys, values, positions, length)
            self._linear(self._attended, attn.out, self._x, "add", parts=parts)
            kind = "gelu" if block.gelu else "relu"
            self._linear(self._x, block.up, self._between, kind, norm=block.norm2)
            self._linear(self._between, block.down, self._x, "add")
        self._prepare(self._x, self._last, self.width, norm=net.norm)
        return self._last[:, None]

    def logits(self, hidden: Tensor) -> Tensor:
        if hidden.shape != self._last.shape:
            return super().logits(hidden)
        weight, bias = self._head, self._head_bias
        self._product(hidden, weight, bias, self._logits, "plain")
        return self._logits[:, : self.vocab_size]

    def next_tokens(self, hidden: Tensor, ids: Tensor, positions: Tensor, vocab_size: int) -> None:
        """The most likely tokens in place of ``ids`` (slots, 1), at the positions after theirs."""
        from inference.text.kernels.tokens import block_argmax_kernel, next_token_kernel

        logits = self.logits(hidden)
        blocks = math.ceil(vocab_size / ARGMAX)
        self._launch(
            block_argmax_kernel,
            (self.slots, blocks),
            *(logits, self._largest, self._index, vocab_size, logits.stride(0)),
            BLOCK=ARGMAX,
        )
        self._launch(
            next_token_kernel,
            (self.slots,),
            *(self._largest, self._index, ids, positions, blocks, vocab_size, self.context),
            BLOCK=_power(blocks),
        )

    def _attend(self, keys: Tensor, values: Tensor, positions: Tensor, length: int) -> int:
        """Attends with the queries; returns the parts that the result is in, 0 for the whole."""
        from inference.text.kernels.attention import attention_kernel

        block = 64
        parts = min(self._most_parts, length // block)
        split = _power(math.ceil(length / parts)) if parts > 1 else _power(length)
        parts = math.ceil(length / split)
        whole = parts == 1
        self._launch(
            attention_kernel,
            (self.slots * self._heads, parts),
            *(self._queries, keys, values, positions),
            *(self._attended if whole else self._parts, self._lse),
            *(self._heads, self.context, 1 / math.sqrt(self._size)),
            SPLIT=split,
            BLOCK=min(block, split),
            D=self._size,
            BLOCK_D=_power(self._size),
            PARTS=not whole,
        )
        return 0 if whole else parts

    def _linear(
        self,
        x: Tensor,
        layer: Any,
        out: Tensor,
        output: str,
        norm: Any = None,
        parts: int = 0,
        cache: tuple[Tensor, ...] = (),
    ) -> None:
        """One linear layer with what is before and after it; see kernels/products.py."""
        if self.slots == 1:
            self._product(x, layer.weight, layer.bias, out, output, norm, parts, cache)
            return
        if norm is not None or parts:
            size = layer.weight.shape[1]
            rows = self._rows[: self.slots * size].view(self.slots, size)
            self._prepare(x, rows, size, norm, parts)
            x = rows
        self._product(x, layer.weight, layer.bias, out, output, cache=cache)

    def _prepare(self, x: Tensor, out: Tensor, size: int, norm: Any = None, parts: int = 0) -> None:
        from inference.text.kernels.products import input_kernel

        kind, pointers, eps = self._input(x, norm, parts)
        self._launch(
            input_kernel,
            (self.slots,),
            *(*pointers, out, size, parts, eps),
            INPUT=kind,
            D=self._size,
            BLOCK_K=_power(size),
        )

    def _input(self, x: Tensor, norm: Any, parts: int) -> tuple[str, tuple[Any, ...], float]:
        if parts:
            return "parts", (self._parts, self._lse, None, None), 0.0
        if norm is None:
            return "plain", (x, None, None, None), 0.0
        return "norm", (x, None, norm.weight, norm.bias), norm.eps

    def _product(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        out: Tensor,
        output: str,
        norm: Any = None,
        parts: int = 0,
        cache: tuple[Tensor, ...] = (),
    ) -> None:
        from inference.text.kernels.products import row_kernel, rows_kernel

        outputs, inputs = weight.shape
        keys, values, positions = cache or (None, None, None)
        ends = (weight, bias, out, keys, values, positions)
        each = _power_below(outputs // self._processors)  # rows of weights for each program
        if self.slots > 1:
            block_n, padded = min(max(each, 16), 64), max(16, _power(self.slots))
            block_k = min(_power(inputs), TILES if weight.element_size() < 4 else 32)
            stage = (block_n + padded) * block_k * weight.element_size()
            self._launch(
                rows_kernel,
                (math.ceil(outputs / block_n),),
                *(x, *ends, self.slots, outputs, inputs, self.context),
                OUTPUT=output,
                ROWS=padded,
                BLOCK_N=block_n,
                BLOCK_K=block_k,
                num_stages=min(4, SHARED // stage),
            )
            return
        kind, pointers, eps = self._input(x, norm, parts)
        block = _power(inputs)
        row = block * weight.element_size()
        rows = max(1, min(each, TILE // row))
        self._launch(
            row_kernel,
            (math.ceil(outputs / rows),),
            *(*pointers, *ends, outputs, inputs, parts, self.context, eps),
            INPUT=kind,
            OUTPUT=output,
            D=self._size,
            BLOCK_N=rows,
            BLOCK_K=block,
            num_warps=8 if rows * row > TILE // 2 else 4,
        )

    def _launch(self, kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
        if self.device.type == "cuda":  # the interpreter knows no options
            options |= {"enable_fp_fusion": True, "launch_pdl": self._pdl}
        kernel[grid](*arguments, PDL=self._pdl, **options)


def _check(config: Mapping[str, Any], slots: int, device: torch.device) -> None:
    if importlib.util.find_spec("triton") is None:
        raise ValueError("the kernels need Triton, which is for Linux; leave --kernels out")
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError("the kernels need a CUDA GPU; leave --kernels out")
    if device.type == "cuda" and torch.cuda.is_available():
        capability = torch.cuda.get_device_capability(device)
        if capability < OLDEST:
            found, least = (".".join(map(str, pair)) for pair in (capability, OLDEST))
            raise ValueError(
                f"the kernels need a GPU of compute capability {least}, and this one has {found}; "
                "leave --kernels out"
            )
    if not (config.get("pre_norm") and config.get("output_projection")):
        raise ValueError(
            "the kernels are for nets as GPT-2: with pre_norm and output_projection; leave "
            "--kernels out"
        )
    widest = max(config.get("hidden") or 4 * config["width"], config["width"])
    if widest > WIDEST:
        raise ValueError(
            f"the kernels are for layers of up to {WIDEST} inputs, and the model has {widest}; "
            "leave --kernels out"
        )
    if slots > MOST:
        raise ValueError(f"the kernels are for up to {MOST} slots, not {slots}")


def _power(number: int) -> int:
    """The next power of two."""
    return 1 << (number - 1).bit_length()


def _power_below(number: int) -> int:
    """The last power of two that is not above ``number``, at least 1."""
    return 1 << max(1, number).bit_length() - 1
