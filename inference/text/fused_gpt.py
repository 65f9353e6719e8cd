"""A GPT whose decode step is a few Triton kernels."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.text.cached_gpt import CachedGPT
from inference.text.int8_weights import Int8Embedding, Int8Linear, quantize_net
from inference.text.kernels.operands import Input, Layer
from inference.text.kernels.supported import check

TILE = 32 * 1024  # bytes of weights that a program holds, of the kernel for one sequence
TILES = 128  # columns of weights at once, of the kernel for several
ARGMAX = 1024


class FusedGPT(CachedGPT):
    """Decodes as :class:`CachedGPT` does, with five kernels per block; prefills as it does.

    What lies between two layers is in float32, the logits too, so that with 16-bit weights less is
    rounded than in a :class:`CachedGPT`. It is for GPT-2 and nets like it: with norms before
    attention and MLP, and an output projection.

    Args:
        config, weights, slots, device, dtype: as for :class:`CachedGPT`.
        int8: keep the matrices of the linear layers in 8 bits, with one scale per row.

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
        int8: bool = False,
    ) -> None:
        check(config, slots, torch.device(device))
        super().__init__(config, weights, slots, device, dtype)
        self._output: Any = Layer(self._head, self._head_bias)
        if int8:
            self._quantize(weights, dtype)
        net = self._net.config
        self._heads, self._size = net.heads, net.width // net.heads
        self._hidden = net.hidden or 4 * net.width
        self._pdl = False
        self._x = self._empty(slots, net.width)
        self._rows = self._empty(slots, net.width, dtype=dtype)
        self._queries = self._empty(slots, net.width, dtype=dtype)
        self._attended = self._empty(slots, net.width, dtype=dtype)
        self._between = self._empty(slots, self._hidden, dtype=dtype)
        self._last = self._empty(slots, net.width, dtype=dtype)
        self._logits = self._empty(slots, len(self._output.weight))
        blocks = math.ceil(self.vocab_size / ARGMAX)
        self._largest = self._empty(slots, blocks)
        self._index = self._empty(slots, blocks, dtype=torch.int32)
        if self.device.type == "cuda":
            gpu = torch.cuda.get_device_properties(self.device)
            self._pdl = gpu.major >= 9
            self._arrange(gpu.multi_processor_count)
        else:
            self._arrange(processors=8)

    def _quantize(self, weights: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        tied = self._net.config.tied
        quantize_net(self._net, weights, self.device)
        head = weights["token.weight" if tied else "head.weight"]
        padded = F.pad(head, (0, 0, 0, len(self._head) - len(head)))
        self._output = Int8Linear(padded, self._head_bias, self.device)
        if tied:
            vars(self._net)["token"] = Int8Embedding(self._output, self.vocab_size, dtype)
        del self._head

    def _arrange(self, processors: int) -> None:
        """Divides the work among a GPU's processors."""
        self._processors = processors
        # Where one program per head would leave the GPU idle, several share its positions.
        self._most_parts = min(4, _power_below(processors // (self.slots * self._heads)))
        self._parts = self._empty(self.slots, self._heads, self._most_parts, self._size)
        self._lse = self._empty(self.slots, self._heads, self._most_parts)
        most = max(self._splits(self.width, size) for size in (self.width, self._hidden))
        self._sums = self._empty(most, self.slots, self.width)

    def _empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, device=self.device, dtype=dtype)

    def decode(self, ids: Tensor, positions: Tensor, length: int) -> Tensor:
        from inference.text.kernels.tokens import embedding_kernel

        net = self._net
        token: Any = net.token
        self._launch(
            embedding_kernel,
            (self.slots,),
            *(ids, positions, token.weight, getattr(token, "scale", None), net.position.weight),
            *(self._x, self.width),
            BLOCK=_power(self.width),
        )
        x = Input(self._x)
        for block, (keys, values) in zip(net.blocks, self._cache.layers, strict=True):
            attn: Any = block.attn
            cache = (keys, values, positions)
            self._linear(x._replace(norm=block.norm1), attn.qkv, self._queries, "qkv", cache)
            parts = self._attend(keys, values, positions, length)
            x = self._add(Input(self._attended, parts=parts), attn.out)
            kind = "gelu" if block.gelu else "relu"
            self._linear(x._replace(norm=block.norm2), block.up, self._between, kind)
            x = self._add(Input(self._between), block.down)
        self._prepare(x._replace(norm=net.norm), self._last)
        return self._last[:, None]

    def logits(self, hidden: Tensor) -> Tensor:
        if hidden.shape == self._last.shape:
            self._product(Input(hidden), self._output, self._logits, "plain")
            return self._logits[:, : self.vocab_size]
        if isinstance(self._output, Int8Linear):
            return self._output(hidden)[..., : self.vocab_size]
        return super().logits(hidden)

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

        most = max(16, 4096 // _power(self._size))  # positions at once
        parts = min(self._most_parts, length // most)
        split = _power(math.ceil(length / parts)) if parts > 1 else _power(length)
        parts = math.ceil(length / split)
        whole = parts == 1
        # One program of few takes its positions at once; many overlap reading and computing.
        block = min(most // 2 if whole else most, split)
        self._launch(
            attention_kernel,
            (self.slots * self._heads, parts),
            *(self._queries, keys, values, positions),
            *(self._attended if whole else self._parts, self._lse),
            *(self._heads, self.context, 1 / math.sqrt(self._size)),
            SPLIT=split,
            BLOCK=block,
            D=self._size,
            BLOCK_D=_power(self._size),
            PARTS=not whole,
            STAGES=min(3, math.ceil(split / block)),
            num_warps=2 if whole and keys.element_size() < 4 else 4,
        )
        return 0 if whole else parts

    def _linear(
        self, x: Input, layer: Any, out: Tensor, output: str, cache: tuple[Tensor, ...] = ()
    ) -> None:
        """One linear layer with what is before and after it; see kernels/products.py."""
        if self.slots > 1 and (x.norm is not None or x.parts):
            self._prepare(x, self._rows)
            x = Input(self._rows)
        self._product(x, layer, out, output, cache)

    def _add(self, x: Input, layer: Any) -> Input:
        """Adds a linear layer to the residual stream; of several sequences the next norm does."""
        if self.slots == 1:
            self._linear(x, layer, self._x, "add")
            return Input(self._x)
        sums = self._sums[: self._splits(*layer.weight.shape)]
        self._linear(x, layer, sums, "split")
        return Input(self._x, sums=sums, bias=layer.bias)

    def _prepare(self, x: Input, out: Tensor) -> None:
        from inference.text.kernels.products import input_kernel

        kind, pointers, eps = self._input(x)
        self._launch(
            input_kernel,
            (self.slots,),
            *(*pointers, x.sums, x.bias, out, self.slots, self.width, eps),
            INPUT=kind,
            PARTS=x.parts,
            SPLITS=0 if x.sums is None else len(x.sums),
            D=self._size,
            BLOCK_K=_power(self.width),
        )

    def _input(self, x: Input) -> tuple[str, tuple[Any, ...], float]:
        if x.parts:
            return "parts", (self._parts, self._lse, None, None), 0.0
        if x.norm is None:
            return "plain", (x.x, None, None, None), 0.0
        return "norm", (x.x, None, x.norm.weight, x.norm.bias), x.norm.eps

    def _product(
        self, x: Input, layer: Any, out: Tensor, output: str, cache: tuple[Tensor, ...] = ()
    ) -> None:
        from inference.text.kernels.products import row_kernel, rows_kernel

        weight = layer.weight
        outputs, inputs = weight.shape
        keys, values, positions = cache or (None, None, None)
        scale = getattr(layer, "scale", None)
        ends = (weight, scale, layer.bias, out, keys, values, positions)
        if self.slots > 1:
            block_n, block_k = self._block_n(outputs), self._block_k(inputs)
            splits = len(out) if output == "split" else 1
            split = math.ceil(inputs / block_k / splits) * block_k
            self._launch(
                rows_kernel,
                (math.ceil(outputs / block_n), splits),
                *(x.x, *ends, self.slots, outputs, inputs, self.context),
                OUTPUT=output,
                ROWS=max(16, _power(self.slots)),
                SPLIT=split,
                BLOCK_N=block_n,
                BLOCK_K=block_k,
                num_warps=2 if block_n < 64 else 4,
                num_stages=3,
            )
            return
        kind, pointers, eps = self._input(x)
        block = _power(inputs)
        row = block * weight.element_size()
        each = self._each(outputs)
        # Small programs where there are many, as for the output layer.
        rows, warps = (4, 4) if each > 16 else (max(1, min(each, TILE // row)), 16)
        self._launch(
            row_kernel,
            (math.ceil(outputs / rows),),
            *(*pointers, *ends, outputs, inputs, self.context, eps),
            INPUT=kind,
            OUTPUT=output,
            PARTS=x.parts,
            D=self._size,
            BLOCK_N=rows,
            BLOCK_K=block,
            num_warps=warps,
        )

    def _each(self, outputs: int) -> int:
        """Rows of weights for each processor, a power of two."""
        return _power_below(outputs // self._processors)

    def _block_n(self, outputs: int) -> int:
        return min(max(self._each(outputs), 16), 64)  # 16 is the least of a matrix instruction

    def _block_k(self, inputs: int) -> int:
        return min(_power(inputs), TILES if self._queries.element_size() < 4 else 32)

    def _splits(self, outputs: int, inputs: int) -> int:
        """Parts of a linear layer's inputs, where programs for its outputs alone would be few."""
        tiles = math.ceil(inputs / self._block_k(inputs))
        programs = math.ceil(outputs / self._block_n(outputs))
        splits = min(tiles, math.ceil(self._processors / programs))
        return math.ceil(tiles / math.ceil(tiles / splits))  # none without inputs

    def _launch(self, kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
        if self.device.type == "cuda":  # the interpreter knows no options
            options |= {"enable_fp_fusion": True, "launch_pdl": self._pdl}
        kernel[grid](*arguments, PDL=self._pdl, **options)


def _power(number: int) -> int:
    """The next power of two."""
    return 1 << (number - 1).bit_length()


def _power_below(number: int) -> int:
    """The last power of two that is not above ``number``, at least 1."""
    return 1 << max(1, number).bit_length() - 1
