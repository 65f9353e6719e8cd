"""Triton kernels of the course against torch, at sizes that no block divides.

``python -m tests.helpers.triton_kernels CHECK...`` runs them in a process of its own, on the GPU if
the process sees one and in the interpreter otherwise. 16 bits are for the GPU: the interpreter's
``tl.dot`` does not know bfloat16.
"""

import itertools
import sys
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course.kernels import environment

# Relative and absolute, of float32 and bfloat16.
TOLERANCE = {torch.float32: (1e-5, 1e-5), torch.bfloat16: (1e-2, 1e-2)}


def dtypes() -> list[torch.dtype]:
    return list(TOLERANCE) if environment.on_gpu() else [torch.float32]


def tensors(dtype: torch.dtype, *shapes: Sequence[int]) -> list[Tensor]:
    """Random ones, whose gradients are asked for."""
    device = "cuda" if environment.on_gpu() else "cpu"
    return [torch.randn(s, device=device).to(dtype).requires_grad_() for s in shapes]


def compare(
    ours: Callable[..., Tensor], theirs: Callable[..., Tensor], inputs: Sequence[Tensor]
) -> None:
    """Results, and gradients of a weighted sum; what is expected is computed in float32."""
    rtol, atol = TOLERANCE[inputs[0].dtype]
    exact = [tensor.detach().float().requires_grad_() for tensor in inputs]
    got, want = ours(*inputs), theirs(*exact)
    grad = torch.randn_like(want).to(got.dtype)
    results = (got, *torch.autograd.grad(got, inputs, grad))
    expected = (want, *torch.autograd.grad(want, exact, grad.float()))
    for one, other in zip(results, expected, strict=True):
        assert one.dtype == inputs[0].dtype or one.ndim == 0
        scale = max(other.abs().max().item(), 1.0)  # of sums the largest counts
        torch.testing.assert_close(one.float() / scale, other / scale, rtol=rtol, atol=atol)


def rows() -> None:
    from course.kernels.rows import LayerNormFunction, layer_norm, softmax

    for dtype, (count, columns) in itertools.product(dtypes(), ((3, 16), (4, 70), (9, 2))):
        inputs = tensors(dtype, (count, columns), (columns,), (columns,))
        x, weight = inputs[0].detach(), inputs[1].detach()
        rtol, atol = TOLERANCE[dtype]
        want = x.float().softmax(1)
        torch.testing.assert_close(softmax(x).float(), want, rtol=rtol, atol=atol)
        across = x.T.contiguous().T
        torch.testing.assert_close(softmax(across).float(), want, rtol=rtol, atol=atol)
        if columns == 2:
            continue  # a variance of two equal numbers is rounding alone
        without = F.layer_norm(x.float(), (columns,), weight.float())
        torch.testing.assert_close(layer_norm(x, weight)[0].float(), without, rtol=rtol, atol=atol)
        compare(
            lambda x, w, b: LayerNormFunction.apply(x, w, b, 1e-5),
            lambda x, w, b: F.layer_norm(x, x.shape[1:], w, b),
            inputs,
        )


def matmul() -> None:
    from course.kernels.matmul import matmul

    for dtype, (m, n, k) in itertools.product(dtypes(), ((1, 1, 1), (4, 70, 33), (65, 17, 20))):
        a, b = (tensor.detach() for tensor in tensors(dtype, (m, k), (k, n)))
        want = a.double() @ b.double()
        rtol, atol = TOLERANCE[dtype]
        for left, right in ((a, b), (a.T.contiguous().T, b), (a, b.T.contiguous().T)):
            got = matmul(left, right)
            assert got.dtype == dtype
            torch.testing.assert_close(got.double(), want, rtol=rtol, atol=2 * atol)


def cross_entropy() -> None:
    from course.kernels.cross_entropy import LinearCrossEntropy

    for dtype, (count, width, vocab, chunk) in itertools.product(
        dtypes(), ((5, 8, 70, 2), (3, 4, 5000, 8), (4, 3, 2, 4))
    ):
        hidden, weight = tensors(dtype, (count, width), (vocab, width))
        targets = torch.randint(0, vocab, (count,), device=hidden.device)
        targets[1], targets[-1] = -100, vocab - 1
        compare(
            lambda h, w, y=targets, rows=chunk: LinearCrossEntropy.apply(h, w, y, rows),
            lambda h, w, y=targets: F.cross_entropy(h @ w.T, y),
            (hidden, weight),
        )


def attention() -> None:
    from course.kernels.attention_backward import CausalAttention

    for dtype, shape in itertools.product(dtypes(), ((1, 2, 70, 8), (2, 1, 33, 20), (1, 1, 1, 16))):
        compare(
            CausalAttention.apply,
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            tensors(dtype, shape, shape, shape),
        )


def decode() -> None:
    from course.kernels.decode import decode_attention

    for dtype, (size, width) in itertools.product(dtypes(), ((70, 12), (16, 64))):
        cache = (3, 2, size, width)
        q, k, v = (x.detach() for x in tensors(dtype, (3, 2, width), cache, cache))
        lengths = torch.tensor([1, size, size // 2 + 1], device=q.device)
        used = torch.arange(size, device=q.device) < lengths[:, None, None, None]
        exact = [x.float() for x in (q[:, :, None], k, v)]
        want = F.scaled_dot_product_attention(*exact, attn_mask=used)[:, :, 0]
        rtol, atol = TOLERANCE[dtype]
        for split in (16, 32, 256):
            got = decode_attention(q, k, v, lengths, split)
            torch.testing.assert_close(got.float(), want, rtol=rtol, atol=atol)


def operators() -> None:
    """In the places of torch's functions; schema, shapes and registration by torch's own check."""
    from course.kernels import ops

    half = torch.bfloat16
    for dtype in dtypes():
        x, weight, bias = tensors(dtype, (2, 5, 24), (24,), (24,))
        for shift in (bias, None):
            compare(
                lambda x, w, *b: ops.layer_norm(x, w, b[0] if b else None, 1e-5),
                lambda x, w, *b: F.layer_norm(x, (24,), w, b[0] if b else None),
                (x, weight) if shift is None else (x, weight, shift),
            )
        compare(ops.bias_gelu, lambda x, b: F.gelu(x + b, approximate="tanh"), (x, bias))
        q, k, v = tensors(dtype, *[(1, 2, 19, 16)] * 3)
        compare(
            ops.causal_attention,
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            (q, k, v),
        )
        (head,) = tensors(dtype, (70, 24))
        targets = torch.randint(0, 70, (2, 5), device=x.device)
        targets[0, 1] = -100
        compare(
            lambda h, w, y=targets: ops.cross_entropy(h, w, y),
            lambda h, w, y=targets: F.cross_entropy((h @ w.T).flatten(0, 1), y.flatten()),
            (x, head),
        )
        exact = head.detach().float()
        padded = F.pad(head, (0, 0, 0, 9)).detach()  # frozen, as the output layer of a base
        compare(
            lambda h, w=padded, y=targets: ops.cross_entropy(h, w, y, 70),
            lambda h, w=exact, y=targets: F.cross_entropy((h @ w.T).flatten(0, 1), y.flatten()),
            (x,),
        )
        rows, flat = x.flatten(0, 1).detach().requires_grad_(), targets.flatten()
        names = torch.ops.gpu_learning
        for operator, arguments in (
            (names.layer_norm, (rows, weight, bias, 1e-5)),
            (names.layer_norm, (rows, weight, None, 1e-5)),
            (names.bias_gelu, (x, bias, True)),
            (names.attention, (q, k, v)),
            (names.linear_cross_entropy, (rows, head, flat, 4)),
            (names.linear_cross_entropy, (rows, padded, flat, 4, 70, True)),
        ):
            # Dynamic shapes are not asked for: callbacks.Compile compiles for the one there is.
            asked = ("test_schema", "test_autograd_registration", "test_faketensor")
            torch.library.opcheck(operator.default, arguments, test_utils=asked)
    if environment.on_gpu():  # the interpreter's CPU has kernels of 16 bits, and no tl.dot for them
        hidden, head = tensors(torch.float32, (6, 24), (70, 24))
        with torch.autocast("cuda", half):
            loss = ops.cross_entropy(hidden, head, torch.arange(6, device="cuda"))
        grads = torch.autograd.grad(loss, (hidden, head))
        assert [grad.dtype for grad in grads] == [torch.float32] * 2


def residual() -> None:
    """The sum, its norm and all gradients, with a dropout that the test asks the kernel for."""
    from course.kernels import ops

    device = "cuda" if environment.on_gpu() else "cpu"
    seed = torch.tensor([1 << 60], device=device)
    for half, dropout, (count, columns) in itertools.product(
        (torch.float32, torch.bfloat16), (0.0, 0.3), ((7, 70), (33, 16), (40, 3), (2, 1100))
    ):
        x, weight, bias = tensors(torch.float32, (count, columns), (columns,), (columns,))
        (branch,) = tensors(half, (count, columns))
        zeros, ones = torch.zeros_like(x), torch.ones_like(branch)
        factors, _ = ops.residual_norm(zeros, ones, weight, None, 1e-5, dropout, seed, 5)
        kept = torch.tensor([1.0] if not dropout else [0.0, 1 / 0.7], device=device)
        torch.testing.assert_close(factors.detach().unique(), kept)
        assert abs(factors.mean() - 1) < 0.2
        again, _ = ops.residual_norm(zeros, ones, weight, None, 1e-5, dropout, seed, 6)
        assert torch.equal(factors, again) == (not dropout)  # another subsequence
        for shift in (bias, None):
            inputs = [x, branch, weight, *([] if shift is None else [shift])]
            exact = [one.detach().float().requires_grad_() for one in inputs]
            got = ops.residual_norm(x, branch, weight, shift, 1e-5, dropout, seed, 5)
            total = exact[0] + factors * exact[1]
            want = total, F.layer_norm(total, (columns,), *exact[2:])
            assert [one.dtype for one in got] == [torch.float32, half]
            grads = [torch.randn_like(one) for one in got]
            gots = torch.autograd.grad(got, inputs, grads)
            wants = torch.autograd.grad(want, exact, [grad.float() for grad in grads])
            rtol, atol = TOLERANCE[half]
            for one, other in zip((*got, *gots), (*want, *wants), strict=True):
                scale = max(other.abs().max().item(), 1.0)
                torch.testing.assert_close(one.float() / scale, other / scale, rtol=rtol, atol=atol)
        asked = ("test_schema", "test_autograd_registration", "test_faketensor")
        for given in (bias, None):
            arguments = (x, branch, weight, given, seed, 5, dropout, 1e-5)
            operator = torch.ops.gpu_learning.residual_norm.default
            torch.library.opcheck(operator, arguments, test_utils=asked)


def tiles() -> None:
    """The autotuner of the product compiles what may win, and no tile that takes minutes."""
    from course.kernels.matmul import CONFIGS, worth_compiling

    def kept(dtype: torch.dtype, m: int, n: int, precision: str = "ieee") -> set[tuple[int, int]]:
        arguments = {"a_ptr": torch.empty(0, dtype=dtype), "M": m, "N": n, "PRECISION": precision}
        found = worth_compiling(CONFIGS, arguments)
        return {(one.kwargs["BLOCK_M"], one.kwargs["BLOCK_N"]) for one in found}

    everything = {(one.kwargs["BLOCK_M"], one.kwargs["BLOCK_N"]) for one in CONFIGS}
    assert kept(torch.bfloat16, 4096, 4096) == everything
    assert kept(torch.float32, 4096, 4096, "tf32") == everything
    assert kept(torch.float32, 4096, 4096) == {(64, 64), (32, 32)}
    assert kept(torch.float32, 50, 33) == {(32, 32)}
    assert kept(torch.float16, 16, 16) == {(32, 32)}
    from course.kernels import attention, attention_backward

    def blocks(dtype: torch.dtype, length: int, configs: list) -> set[tuple[int, int]]:
        arguments = {"q_ptr": torch.empty(0, dtype=dtype), "T": length}
        found = attention.worth_compiling(configs, arguments)
        return {(one.kwargs["BLOCK_M"], one.kwargs["BLOCK_N"]) for one in found}

    assert blocks(torch.bfloat16, 1024, attention.CONFIGS) >= {(128, 128), (32, 32)}
    assert blocks(torch.float32, 1024, attention.CONFIGS) == {(64, 32), (32, 32)}
    assert blocks(torch.bfloat16, 64, attention.CONFIGS) == {(64, 64), (64, 32), (32, 32)}
    assert blocks(torch.float32, 5, attention_backward.CONFIGS) == {(32, 32)}


if __name__ == "__main__":
    environment.choose(["triton"])
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    for check in sys.argv[1:]:
        vars()[check]()
