"""Linear layers of one new token per sequence, with what comes before and after them."""

import triton
import triton.language as tl


@triton.jit
def wait(PDL: tl.constexpr):
    """Until all that the kernels before wrote can be read."""
    if PDL:
        tl.extra.cuda.gdc_wait()


@triton.jit
def launch_next(PDL: tl.constexpr):
    """Lets the next kernel begin, which then waits for the end of this one."""
    if PDL:
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def norm_weights(gain_ptr, shift_ptr, k, K, INPUT: tl.constexpr):
    """Weight and bias of the LayerNorm of input_row, elements k of K; 1 and 0 without one."""
    gain = tl.full(k.shape, 1.0, dtype=tl.float32)
    shift = tl.zeros(k.shape, dtype=tl.float32)
    if INPUT == "norm":
        gain = tl.load(gain_ptr + k, mask=k < K, other=0.0).to(tl.float32)
        if shift_ptr is not None:
            shift = tl.load(shift_ptr + k, mask=k < K, other=0.0).to(tl.float32)
    return gain, shift


@triton.jit
def norm(x, gain, shift, k, K, eps):
    """LayerNorm of x, elements k of K."""
    x = tl.where(k < K, x - tl.sum(x, axis=0) / K, 0.0)
    return x * tl.rsqrt(tl.sum(x * x, axis=0) / K + tl.cast(eps, tl.float32)) * gain + shift


@triton.jit
def input_row(
    x_ptr,
    lse_ptr,
    gain,
    shift,
    row,
    k,
    K,
    eps,
    INPUT: tl.constexpr,
    PARTS: tl.constexpr,
    D: tl.constexpr,
):
    """Row of a linear layer's input, in float32: elements k of K.

    INPUT is ``plain``; ``norm``, LayerNorm of x; or ``parts``, attention to parts of a KV cache,
    (rows, K / D, PARTS, D), each of which counts by its sum of exponents.
    """
    inside = k < K
    if INPUT == "parts":
        head = row * (K // D) + k // D
        lse_at = lse_ptr + head * PARTS
        x_at = x_ptr + head * PARTS * D + k % D
        largest = tl.load(lse_at, mask=inside, other=0.0)
        for part in tl.static_range(1, PARTS):  # pyright: ignore[reportGeneralTypeIssues]
            largest = tl.maximum(largest, tl.load(lse_at + part, mask=inside, other=0.0))
        total = tl.zeros_like(largest)
        x = tl.zeros_like(largest)
        for part in tl.static_range(PARTS):  # pyright: ignore[reportGeneralTypeIssues]
            share = tl.exp2(tl.load(lse_at + part, mask=inside, other=0.0) - largest)
            total += share
            x += share * tl.load(x_at + part * D, mask=inside, other=0.0)
        x = x / total
    else:
        x = tl.load(x_ptr + row * K + k, mask=inside, other=0.0).to(tl.float32)
    if INPUT == "norm":
        x = norm(x, gain, shift, k, K, eps)
    return x


@triton.jit
def bias_of(bias_ptr, n, N):
    """Elements n of N of a bias, 0 without one."""
    bias = tl.zeros(n.shape, dtype=tl.float32)
    if bias_ptr is not None:
        bias = tl.load(bias_ptr + n, mask=n < N, other=0.0).to(tl.float32)
    return bias


@triton.jit
def scale_of(scale_ptr, n, N):
    """Elements n of N of the scales of weights in int8, 1 without them."""
    scale = tl.full(n.shape, 1.0, dtype=tl.float32)
    if scale_ptr is not None:
        scale = tl.load(scale_ptr + n, mask=n < N, other=0.0)
    return scale


@triton.jit
def store_outputs(
    acc,
    n,
    rows,
    out_ptr,
    keys_ptr,
    values_ptr,
    positions_ptr,
    B,
    N,
    context,
    OUTPUT: tl.constexpr,
):
    """Stores outputs n of N of a linear layer for rows of B; acc is (n, rows), in float32.

    OUTPUT is ``plain``, ``add`` or ``split``, acc as it is; ``gelu``, in its tanh form; ``relu``;
    or ``qkv``: queries (B, N / 3) to out, keys and values into the cache (B, context, N / 3).
    """
    mask = (n[:, None] < N) & (rows[None, :] < B)
    if OUTPUT == "gelu":
        # (1 + tanh(u)) / 2 is sigmoid(2 u).
        acc = acc * tl.sigmoid(1.5957691216057308 * (acc + 0.044715 * acc * acc * acc))
    if OUTPUT == "relu":
        acc = tl.maximum(acc, 0.0)
    if OUTPUT == "qkv":
        width = N // 3
        position = tl.load(positions_ptr + rows, mask=rows < B, other=0)
        cached = (rows * context + position)[None, :] * width + (n % width)[:, None]
        part = (n // width)[:, None]
        tl.store(out_ptr + rows[None, :] * width + n[:, None], acc, mask=mask & (part == 0))
        tl.store(keys_ptr + cached, acc, mask=mask & (part == 1))
        tl.store(values_ptr + cached, acc, mask=mask & (part == 2))
    else:
        tl.store(out_ptr + rows[None, :] * N + n[:, None], acc, mask=mask)


@triton.jit
def row_kernel(
    x_ptr,
    lse_ptr,
    gain_ptr,
    shift_ptr,
    weight_ptr,
    scale_ptr,
    bias_ptr,
    out_ptr,
    keys_ptr,
    values_ptr,
    positions_ptr,
    N,
    K,
    context,
    eps,
    INPUT: tl.constexpr,
    OUTPUT: tl.constexpr,
    PARTS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PDL: tl.constexpr,
):
    """BLOCK_N outputs of a linear layer with weights (N, K), for one sequence.

    In int8, a row of weights has a scale; its outputs are multiplied by it.
    """
    n = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    k = tl.arange(0, BLOCK_K)
    mask = (n[:, None] < N) & (k[None, :] < K)
    weight = tl.load(weight_ptr + n[:, None] * K + k[None, :], mask=mask, other=0.0)
    gain, shift = norm_weights(gain_ptr, shift_ptr, k, K, INPUT)
    scale = scale_of(scale_ptr, n, N)
    bias = bias_of(bias_ptr, n, N)
    rows = tl.arange(0, 1)
    wait(PDL)
    launch_next(PDL)
    if OUTPUT == "add":
        bias += tl.load(out_ptr + n, mask=n < N, other=0.0)
    x = input_row(x_ptr, lse_ptr, gain, shift, 0, k, K, eps, INPUT, PARTS, D)
    acc = (tl.sum(weight.to(tl.float32) * x[None, :], axis=1) * scale + bias)[:, None]
    store_outputs(
        acc,
        n,
        rows,
        out_ptr,
        keys_ptr,
        values_ptr,
        positions_ptr,
        1,
        N,
        context,
        OUTPUT,
    )


@triton.jit
def rows_kernel(
    x_ptr,
    weight_ptr,
    scale_ptr,
    bias_ptr,
    out_ptr,
    keys_ptr,
    values_ptr,
    positions_ptr,
    B,
    N,
    K,
    context,
    OUTPUT: tl.constexpr,
    ROWS: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PDL: tl.constexpr,
):
    """BLOCK_N outputs of a linear layer with weights (N, K), for all B <= ROWS sequences.

    With the OUTPUT ``split`` a program sums SPLIT of the inputs alone, without the bias, and out is
    (K / SPLIT, B, N); see input_kernel.
    """
    block, split = tl.program_id(0), tl.program_id(1)
    n = (block * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    rows = tl.arange(0, ROWS)
    scale = scale_of(scale_ptr, n, N)
    bias = tl.zeros([BLOCK_N], dtype=tl.float32)
    if OUTPUT != "split":
        bias = bias_of(bias_ptr, n, N)
    acc = tl.zeros([BLOCK_N, ROWS], dtype=tl.float32)
    wait(PDL)
    launch_next(PDL)
    for start in range(split * SPLIT, tl.minimum((split + 1) * SPLIT, K), BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        w_mask = (n[:, None] < N) & (k[None, :] < K)
        weight = tl.load(weight_ptr + n[:, None] * K + k[None, :], mask=w_mask, other=0.0)
        x_mask = (rows[None, :] < B) & (k[:, None] < K)
        x = tl.load(x_ptr + rows[None, :] * K + k[:, None], mask=x_mask, other=0.0)
        acc = tl.dot(weight.to(x.dtype), x, acc, input_precision="ieee")
    acc = acc * scale[:, None] + bias[:, None]
    if OUTPUT == "split":
        out_ptr += split.to(tl.int64) * B * N
    store_outputs(
        acc,
        n,
        rows,
        out_ptr,
        keys_ptr,
        values_ptr,
        positions_ptr,
        B,
        N,
        context,
        OUTPUT,
    )


@triton.jit
def input_kernel(
    x_ptr,
    lse_ptr,
    gain_ptr,
    shift_ptr,
    sums_ptr,
    bias_ptr,
    out_ptr,
    B,
    K,
    eps,
    INPUT: tl.constexpr,
    PARTS: tl.constexpr,
    SPLITS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PDL: tl.constexpr,
):
    """A row of a linear layer's input (B, K), for a program per sequence; see input_row.

    With SPLITS, the output of the layer before is added to x first: sums (SPLITS, B, K) and its
    bias.
    """
    row = tl.program_id(0)
    k = tl.arange(0, BLOCK_K)
    inside = k < K
    gain, shift = norm_weights(gain_ptr, shift_ptr, k, K, INPUT)
    more = bias_of(bias_ptr, k, K)
    wait(PDL)
    launch_next(PDL)
    if SPLITS:
        for split in tl.static_range(SPLITS):  # pyright: ignore[reportGeneralTypeIssues]
            more += tl.load(sums_ptr + (split * B + row) * K + k, mask=inside, other=0.0)
        x = tl.load(x_ptr + row * K + k, mask=inside, other=0.0) + more
        tl.store(x_ptr + row * K + k, x, mask=inside)
        x = norm(x, gain, shift, k, K, eps)
    else:
        x = input_row(x_ptr, lse_ptr, gain, shift, row, k, K, eps, INPUT, PARTS, D)
    tl.store(out_ptr + row * K + k, x, mask=inside)
