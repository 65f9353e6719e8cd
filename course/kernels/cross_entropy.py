"""Cross-entropy of a language model without its logits, in Triton.

The logits (N, V) of N positions and V tokens are the largest tensor of a language model by far.
Here they exist for a chunk of positions at a time: a kernel reads them once for their loss and
once more to write their gradient over them, and two matrix products take it to the hidden vectors
and to the weight. So only gradients remain, whose sizes are those of their tensors.

Source of the idea: P. Hsu et al., Liger Kernel, 2024, arXiv:2410.10989.
"""

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from torch.library import wrap_triton

from course.kernels.tracing import is_traced

ROWS = 2048  # of logits at a time; 196 MiB in bfloat16 at GPT-2's 50,257 tokens
# Columns of logits are a multiple of it: wide loads and tensor cores want aligned rows.
ALIGN = 64
IGNORE = -100  # as in torch


@triton.jit
def cross_entropy_kernel(
    logits_ptr,
    targets_ptr,
    losses_ptr,
    width,
    vocab_size,
    scale_ptr,
    IGNORE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Loss of one row of logits, which become its gradient times the scale.

    A row has width columns, of which those from vocab_size on do not count; their gradient is 0.
    """
    row = tl.program_id(0).to(tl.int64)
    logits_ptr += row * width
    target = tl.load(targets_ptr + row)
    offsets = tl.arange(0, BLOCK)
    if target == IGNORE:
        for start in range(0, width, BLOCK):
            tl.store(logits_ptr + start + offsets, 0.0, mask=start + offsets < width)
        tl.store(losses_ptr + row, 0.0)
    else:
        # Before the reductions, which all warps wait for: later one may have overwritten it.
        wanted = tl.load(logits_ptr + target).to(tl.float32)
        # The largest logit so far and the sum of exponents with respect to it, one of each for
        # every offset of the block; they meet in one after the loop. Not minus infinity, as the
        # difference of two infinities is not a number.
        largest = tl.full([BLOCK], -1e30, dtype=tl.float32)
        total = tl.zeros([BLOCK], dtype=tl.float32)
        for start in range(0, vocab_size, BLOCK):
            mask = start + offsets < vocab_size
            x = tl.load(logits_ptr + start + offsets, mask=mask, other=-float("inf")).to(tl.float32)
            now = tl.maximum(largest, x)
            total = total * tl.exp(largest - now) + tl.exp(x - now)
            largest = now
        top = tl.max(largest, axis=0)
        lse = top + tl.log(tl.sum(total * tl.exp(largest - top), axis=0))
        tl.store(losses_ptr + row, lse - wanted)
        scale = tl.load(scale_ptr)
        for start in range(0, width, BLOCK):
            mask = start + offsets < vocab_size
            x = tl.load(logits_ptr + start + offsets, mask=mask, other=-float("inf")).to(tl.float32)
            grad = tl.exp(x - lse) - tl.where(start + offsets == target, 1.0, 0.0)
            tl.store(logits_ptr + start + offsets, grad * scale, mask=start + offsets < width)


def cross_entropy_(logits: Tensor, targets: Tensor, scale: Tensor, vocab_size: int) -> Tensor:
    """Losses (rows,) in float32; the logits (rows, width) are overwritten by their gradient.

    Args:
        logits: contiguous, of at least vocab_size columns; more are padding.
        targets: tokens (rows,), int64, or -100 for a row that does not count.
        scale: what each row's gradient is multiplied by, a tensor of one number, in float32.
    """
    rows, width = logits.shape
    losses = torch.empty(rows, dtype=torch.float32, device=logits.device)
    block = min(triton.next_power_of_2(vocab_size), 4096)
    kernel = wrap_triton(cross_entropy_kernel) if is_traced(logits) else cross_entropy_kernel
    kernel[(rows,)](
        logits,
        targets,
        losses,
        width,
        vocab_size,
        scale,
        IGNORE,
        BLOCK=block,
        num_warps=min(max(block // 256, 1), 16),
    )
    return losses


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    rows: int = ROWS,
    vocab_size: int = 0,
    frozen: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean cross-entropy of ``hidden @ weight.T``, and the gradients of hidden and weight.

    Args:
        hidden: vectors (N, C).
        weight: of the output layer, (V, C), in the type of hidden.
        targets: tokens (N,), int64, each from 0 to V - 1, or -100 for one that does not count.
        rows: how many rows of logits there are at a time.
        vocab_size: V, where weight has more rows, which are padding; 0 for all of them.
        frozen: weight is not trained; its gradient, (0, C), costs nothing then.

    Raises:
        ValueError: rows below 1.
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    scale = 1 / (targets != IGNORE).sum().float()  # stays on the device: nothing waits for it
    losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    grad_hidden = torch.empty_like(hidden)
    count = len(weight)
    missing = -count % ALIGN
    padded = F.pad(weight, (0, 0, 0, missing)) if missing else weight  # (width, C)
    grad_weight = torch.zeros_like(padded[: 0 if frozen else None], dtype=torch.float32)
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        logits = hidden[part] @ padded.T
        losses[part] = cross_entropy_(logits, targets[part], scale, vocab_size or count)
        torch.mm(logits, padded, out=grad_hidden[part])
        if not frozen:
            grad_weight += logits.T @ hidden[part]
    return losses.sum() * scale, grad_hidden, grad_weight[:count].to(weight.dtype)


class LinearCrossEntropy(torch.autograd.Function):
    """The loss whose gradients were computed with it: hidden, weight, targets, rows."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int = ROWS) -> Tensor:  # type: ignore[override]
        loss, *grads = linear_cross_entropy(hidden, weight, targets, rows)
        ctx.save_for_backward(*grads)
        return loss

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        by_hidden, by_weight = ctx.saved_tensors
        return grad * by_hidden, grad * by_weight, None, None
