"""Step 34: causal attention without its scores, and attention to a KV cache."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from course.kernels import environment
from course.kernels.measure import bandwidth, gpu_ms
from course.kernels.memory import MemoryCount
from course.runner import Run

HEADS, LENGTH, WIDTH = 2, 64, 16
ON_GPU = (
    "bfloat16, largest difference",
    "forward at (64, 2048), speed / flash attention",
    "forward and backward, speed / flash attention",
    "KV cache of 4096, GB/s",
)


def with_scores(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention written out: the scores are (B, H, T, T)."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(future, -math.inf).softmax(dim=-1) @ v


def blocks_read(length: int, block_m: int, block_n: int) -> tuple[int, int]:
    """Blocks of keys that all blocks of queries read: causal, and without a mask."""
    queries, keys = -(-length // block_m), -(-length // block_n)
    causal = sum(-(-min((i + 1) * block_m, length) // block_n) for i in range(queries))
    return causal, queries * keys


def flash_attention(run: Run) -> dict[str, Any]:
    """Both kernels against torch, and what they do not store; on a GPU their speed."""
    from course.kernels.attention_backward import CausalAttention

    print(environment.where())
    device = "cuda" if environment.on_gpu() else "cpu"
    torch.manual_seed(34)
    shape = (1, HEADS, LENGTH, WIDTH)
    inputs = [torch.randn(shape, device=device, requires_grad=True) for _ in range(3)]
    grad = torch.randn(shape, device=device)
    results, largest = [], []
    for attend in (CausalAttention.apply, with_scores):
        with MemoryCount() as count:
            out = attend(*inputs)
            results.append((out, *torch.autograd.grad(out, inputs, grad)))
        largest.append(torch.Size(count.largest))
    print(f"largest tensor: {tuple(largest[0])}, with the scores {tuple(largest[1])}")
    differences = [_difference(one, other) for one, other in zip(*results, strict=True)]
    causal, all_blocks = blocks_read(2048, 128, 64)
    print(f"blocks of 64 keys for 2048 positions: {causal} of {all_blocks}")
    values: dict[str, Any] = {
        "attention, largest difference": differences[0],
        "its gradients, largest difference": max(differences[1:]),
        "largest tensor, scores / output": largest[1].numel() / largest[0].numel(),
        "blocks of keys read, causal / all": causal / all_blocks,
        "KV cache, largest difference": _cache(device),
    }
    if environment.on_gpu():
        return values | dict(zip(ON_GPU, _on_gpu(), strict=True))
    for name in ON_GPU:
        run.skip(name, "needs a CUDA GPU")
    return values


def _difference(one: Tensor, other: Tensor) -> float:
    return (one.float() - other.float()).abs().max().item()


def _cache(device: str) -> float:
    """Three sequences of different lengths, the cache of each read by several programs."""
    from course.kernels.decode import decode_attention

    lengths = torch.tensor([70, 1, 33], device=device)
    q = torch.randn(3, HEADS, WIDTH, device=device)
    k, v = (torch.randn(3, HEADS, 70, WIDTH, device=device) for _ in range(2))
    used = torch.arange(70, device=device) < lengths[:, None, None, None]
    want = F.scaled_dot_product_attention(q[:, :, None], k, v, attn_mask=used)[:, :, 0]
    return _difference(decode_attention(q, k, v, lengths, split=32), want)


def _on_gpu() -> list[float]:
    from course.kernels.attention import attention, tuned_attention
    from course.kernels.attention_backward import CausalAttention
    from course.kernels.decode import decode_attention

    shape = (4, 16, 2048, 64)
    like = {"device": "cuda", "dtype": torch.bfloat16}
    q, k, v = inputs = [torch.randn(shape, **like, requires_grad=True) for _ in range(3)]
    grad = torch.randn(shape, **like)
    exact = with_scores(*(x.detach().float() for x in inputs))

    def with_gradients(attend: Callable[..., Tensor]) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(attend(*inputs), inputs, grad)

    def flash(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    with torch.no_grad():
        difference = _difference(attention(q, k, v)[0], exact)
        ours, theirs = gpu_ms(lambda: attention(q, k, v)), gpu_ms(lambda: flash(q, k, v))
    print(f"forward of {shape}: {ours}, flash attention {theirs}")
    print(f"chosen: {tuned_attention.best_config}")
    mine, other = gpu_ms(with_gradients(CausalAttention.apply)), gpu_ms(with_gradients(flash))
    print(f"forward and backward: {mine}, flash attention {other}")
    cache_k, cache_v = (torch.randn(16, 12, 4096, 64, **like) for _ in range(2))
    one = torch.randn(16, 12, 64, **like)
    lengths = torch.full((16,), 4096, device="cuda")
    decode = gpu_ms(lambda: decode_attention(one, cache_k, cache_v, lengths))
    print(f"one token to a cache of 4096: {decode}")
    read = bandwidth(cache_k.nbytes + cache_v.nbytes, decode)
    return [difference, theirs.median / ours.median, other.median / mine.median, read]
