"""Every Triton kernel of lessons 29 to 34 with the types and constants it is launched with."""

from dataclasses import dataclass, field, replace
from typing import Any

HALF, WIDE, FULL, TOKENS, COUNT, NUMBER = "*fp16", "*bf16", "*fp32", "*i64", "i32", "fp32"
DOUBLE = "fp64"  # what torch.compile makes of a Python number
MULTIPLE = "i32:16"  # a size or a stride that 16 divides: loads of it are wide
BOTH = (75, 90)
NEWER = (90,)


@dataclass(frozen=True)
class Variant:
    """A kernel to be compiled.

    Args:
        kernel: of ``triton.jit``.
        types: by argument; those of others are not read.
        constants: its ``tl.constexpr`` parameters, and strides of 1, which a launch takes as such.
        options: ``num_warps`` and ``num_stages``, where they are not Triton's own.
        targets: compute capabilities.
    """

    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any]
    options: dict[str, int] = field(default_factory=dict)
    targets: tuple[int, ...] = BOTH

    def name(self, cc: int) -> str:
        kernel = f"{self.kernel.fn.__module__}.{self.kernel.fn.__name__}"
        sizes = (self.constants | self.options).items()
        shown = (f"{name}={value}" for name, value in sizes)
        return " ".join([kernel, str(cc), self.types[self.kernel.arg_names[0]], *shown])

    def numbers(self) -> list[str]:
        """Names of the arguments that are Python numbers."""
        return [name for name in self.kernel.arg_names if self.types.get(name) == NUMBER]


def all_variants() -> list[Variant]:
    lessons = elements(), rows_and_losses(), products(), heads(), solutions()
    return [variant for lesson in lessons for variant in lesson]


def within_torch_compile() -> list[Variant]:
    """A variant of each kernel of the course with a Python number, as torch.compile launches it."""
    last = {
        variant.kernel: replace(variant, types=variant.types | dict.fromkeys(numbers, DOUBLE))
        for variant in all_variants()
        if (numbers := variant.numbers())
        and variant.kernel.fn.__module__.startswith("course.kernels.")
    }
    return list(last.values())


def elements() -> list[Variant]:
    """Lessons 29 and 30, and their exercises' solutions."""
    from course.exercises import step29_bandwidth, step30_fusion
    from course.kernels import fused, moves

    two = {"x": FULL, "out": FULL}
    side = {"rows": COUNT, "cols": COUNT}
    gelu = {"x": HALF, "bias": HALF, "out": HALF, "n": COUNT, "width": COUNT}
    back = dict.fromkeys(("x", "bias", "grad_out", "grad_x"), HALF)
    back |= {"grad_bias": FULL, "rows": COUNT, "width": COUNT}
    return [
        Variant(moves.copy, two | {"n": COUNT}, {"BLOCK": 1024}),
        Variant(moves.copy_apart, two | {"n": COUNT, "stride": COUNT}, {"BLOCK": 1024}),
        Variant(moves.transpose, two | side, {"TILE": 32}),
        Variant(moves.transpose_columns, two | side, {"BLOCK": 1024}),
        *(
            Variant(fused.forward_kernel, gelu, {"TANH": tanh, "BLOCK": 1024})
            for tanh in (False, True)
        ),
        *(
            Variant(fused.backward_kernel, back, {"TANH": tanh, "COLUMNS": 64, "ROWS": 32})
            for tanh in (False, True)
        ),
        Variant(step29_bandwidth.copy, two | {"n": COUNT}, {"BLOCK": 32}),
        Variant(step29_bandwidth.transpose, two | side, {"TILE": 16}),
        Variant(step30_fusion.bias_gelu, gelu, {"BLOCK": 32}),
        Variant(step30_fusion.bias_gelu_backward, back, {"BLOCK": 16}),
    ]


def rows_and_losses() -> list[Variant]:
    """Lessons 31 and 33, and the KV cache of 34: what has no configs to choose from."""
    from course.kernels import cross_entropy, decode, residual, rows

    block, warps = rows.block_of(4096)
    row, options = {"BLOCK": block}, {"num_warps": warps}
    strides = _of(MULTIPLE, "x_stride out_stride columns rows")
    sums = _of(FULL, "mean_ptr rstd_ptr grad_weight_ptr grad_bias_ptr") | {"eps": NUMBER}
    loss = _of(FULL, "losses_ptr scale_ptr") | {"targets_ptr": TOKENS}
    loss |= {"width": MULTIPLE, "vocab_size": COUNT}
    cache = _of(FULL, "out_ptr lse_ptr") | {"lengths_ptr": TOKENS}
    cache |= {"heads": COUNT, "size": MULTIPLE, "scale": NUMBER}
    head = {"SPLIT": decode.SPLIT, "BLOCK": 64, "D": 64, "BLOCK_D": 64}
    ignored = {"IGNORE": cross_entropy.IGNORE, "BLOCK": 4096}
    sums |= _of(FULL, "grad_weight_ptr sum_ptr grad_sum_ptr") | {"dropout": NUMBER}
    places = {"seed_ptr": TOKENS, "subsequence": COUNT}
    tiles = [residual.sizes_of(width) for width in (384, 4096)]
    found = []
    for kind in (WIDE, HALF, FULL):
        data = _of(kind, "x_ptr weight_ptr bias_ptr out_ptr grad_ptr grad_x_ptr") | strides | sums
        branch = _of(kind, "branch_ptr normal_ptr grad_normal_ptr grad_branch_ptr")
        summed = data | branch | places
        logits = _of(kind, "logits_ptr") | loss
        cached = _of(kind, "q_ptr k_ptr v_ptr") | cache
        found += [
            Variant(rows.softmax_kernel, data, row, options),
            Variant(rows.layer_norm_kernel, data, {"HAS_BIAS": True} | row, options),
            Variant(rows.layer_norm_kernel, data, {"HAS_BIAS": False} | row, options),
            Variant(rows.layer_norm_backward_kernel, data, row, options),
            *(
                Variant(
                    *(kernel, summed),
                    {"HAS_BIAS": bias, "HAS_DROPOUT": True, "ROWS": each, "BLOCK": size},
                    {"num_warps": warps},
                )
                for kernel in (residual.forward_kernel, residual.backward_kernel)
                for bias in (False, True)
                for each, size, warps in tiles
            ),
            Variant(cross_entropy.cross_entropy_kernel, logits, ignored, {"num_warps": 16}),
            Variant(decode.decode_kernel, cached, head),
        ]
    return found


def products() -> list[Variant]:
    """Lesson 32: rows of a, b and c lie one after another."""
    from course.kernels import matmul

    kernel, names, configs = matmul.matmul_kernel, "a_ptr b_ptr c_ptr", matmul.CONFIGS
    types = _of(MULTIPLE, "M N K a_row b_row c_row")
    ones = dict.fromkeys(("a_column", "b_column", "c_column"), 1)
    found = tuned(kernel, configs, names, types, ones | {"PRECISION": "ieee"})
    constants = ones | {"PRECISION": "ieee"}
    found.append(_chosen(kernel, configs[-1], _of(HALF, names) | types, constants, BOTH))
    for precision in ("tf32", "tf32x3"):
        constants = ones | {"PRECISION": precision}
        found.append(_chosen(kernel, configs[-2], _of(FULL, names) | types, constants, BOTH))
    return found


def heads() -> list[Variant]:
    """Attention of lesson 34 and its gradients, at heads of 64."""
    from course.kernels import attention, attention_backward

    types = _of(FULL, "lse_ptr delta_ptr") | {"T": MULTIPLE, "scale": NUMBER}
    names = "q_ptr k_ptr v_ptr out_ptr grad_ptr grad_q_ptr grad_k_ptr grad_v_ptr"
    head = {"D": 64, "BLOCK_D": 64}
    found = tuned(attention.attention_kernel, attention.CONFIGS, names, types, head)
    for kernel in (
        attention_backward.gradient_of_keys_kernel,
        attention_backward.gradient_of_queries_kernel,
    ):
        found += tuned(kernel, attention_backward.CONFIGS, names, types, head)
    return found


def tuned(
    kernel: Any, configs: list[Any], names: str, types: dict[str, str], constants: dict[str, Any]
) -> list[Variant]:
    """Every config in bfloat16 for compute capability 9.0, the smallest one in float32, too, and
    for 7.5.

    The large ones take up to a minute to compile where tensor cores do not multiply their types.
    """
    wide = _of(WIDE, names) | types
    found = [_chosen(kernel, config, wide, constants, NEWER) for config in configs[:-1]]
    for kind in (WIDE, FULL):
        found.append(_chosen(kernel, configs[-1], _of(kind, names) | types, constants, BOTH))
    return found


def solutions() -> list[Variant]:
    """Exercises 31 to 34, as their checks launch them."""
    from course.exercises import step31_row_reductions as step31
    from course.exercises import step32_matmul as step32
    from course.exercises import step33_cross_entropy as step33
    from course.exercises import step34_flash_attention as step34

    rows = _of(FULL, "x weight bias out mean rstd grad grad_x grad_weight grad_bias")
    rows |= {"rows": COUNT, "columns": COUNT, "eps": NUMBER}
    block = {"BLOCK": 128}
    sizes = _of(COUNT, "M N K a_row a_column b_row b_column") | {"c": FULL}
    tile = {"BLOCK_M": 16, "BLOCK_N": 16, "BLOCK_K": 16}
    loss = _of(FULL, "logits losses gradients") | {"targets": TOKENS}
    loss |= {"vocab": COUNT, "scale": NUMBER}
    attend = _of(FULL, "q k v out") | {"lengths": TOKENS, "T": COUNT, "S": COUNT, "scale": NUMBER}
    return [
        Variant(step31.softmax_kernel, rows, block),
        Variant(step31.layer_norm_kernel, rows, block),
        Variant(step31.layer_norm_backward_kernel, rows, block),
        *(Variant(step32.matmul_kernel, _of(kind, "a b") | sizes, tile) for kind in (FULL, HALF)),
        Variant(step33.cross_entropy_kernel, loss, {"BLOCK": 64}),
        Variant(step34.attention_kernel, attend, {"BLOCK_M": 16, "BLOCK_N": 16, "D": 16}),
        Variant(step34.decode_kernel, attend, {"BLOCK": 16, "D": 16}),
    ]


def _chosen(
    kernel: Any,
    config: Any,
    types: dict[str, str],
    constants: dict[str, Any],
    targets: tuple[int, ...],
) -> Variant:
    options = {"num_warps": config.num_warps, "num_stages": config.num_stages}
    return Variant(kernel, types, config.kwargs | constants, options, targets)


def _of(kind: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), kind)
