"""Compiles kernels for GPUs, which takes none; in a process of its own.

``python -m tests.helpers.compiling`` prints a JSON object: what the code of each kernel takes, and
what is said of two learners' kernels that do not compile.
"""

import importlib.util
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.helpers.triton_variants import FULL, Variant, all_variants, within_torch_compile

BROKEN = """
import triton
import triton.language as tl
from numba import cuda


@triton.jit
def blocks(x, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(x + i, missing)


@cuda.jit
def threads(x):
    i = cuda.grid(1)
    x[i] = x[i] + "one"
"""


def compile_triton(variant: Variant, cc: int) -> dict[str, int]:
    """Bytes of the code, of its shared memory per program, and of its stack per thread; and how
    many instructions calculate in float64.

    What does not fit into registers is spilled to the stack.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, divisible = {}, {}
    for index, name in enumerate(variant.kernel.arg_names):
        if name in variant.constants:
            signature[name] = "constexpr"
            continue
        signature[name], _, divisor = variant.types[name].partition(":")
        if divisor or signature[name].startswith("*"):  # torch's tensors begin at multiples of 16
            divisible[(index,)] = [["tt.divisibility", 16]]
    source = ASTSource(variant.kernel, signature, variant.constants, divisible)
    target = GPUTarget("cuda", cc, 32)
    compiled = triton.compile(source, target=target, options=variant.options)
    code = compiled.asm["cubin"]
    return {
        "size": len(code),
        "shared": compiled.metadata.shared,
        "stack": stack_of(code),
        "doubles": len(re.findall(r"\b(?:add|sub|mul|fma|div|max)\.\S*f64\b", compiled.asm["ptx"])),
    }


def stack_of(code: bytes) -> int:
    """As ``cuobjdump`` says, which comes with Triton."""
    from triton import knobs

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(code)
        command = [knobs.nvidia.cuobjdump.path, "-res-usage", str(path)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r" STACK:(\d+)", said)
    assert found is not None, said
    return int(found[1])


def numba_kernels() -> list[tuple[Any, tuple[Any, ...]]]:
    """Each with the types of its arguments."""
    from numba import float32, float64, int32, int64

    from course.exercises import step27_threads, step28_shared_memory
    from course.kernels import maps, shared

    vector, matrix = float32[::1], float32[:, ::1]
    counts, owner = int32[::1], int32[:, ::1]
    return [
        (maps.axpy, (float64, vector, vector, vector, int64)),
        (maps.axpy_unchecked, (float64, vector, vector, vector)),
        (maps.owners, (owner,)),
        (shared.sum_by_blocks, (vector, vector)),
        (shared.sum_by_elements, (vector, vector)),
        (shared.add_one_lossy, (counts,)),
        (shared.add_one_atomic, (counts,)),
        (step27_threads.axpy, (float64, vector, vector, vector)),
        (step27_threads.add_bias, (matrix, vector, matrix)),
        (step28_shared_memory.block_sums, (vector, vector)),
        (step28_shared_memory.histogram, (counts, counts)),
    ]


def compile_numba(kernel: Any, types: tuple[Any, ...]) -> int:
    from numba import cuda

    return len(cuda.compile_ptx(kernel.py_func, types, cc=(7, 5))[0])


def refused(module: ModuleType) -> list[str]:
    """What a check says of the two kernels of ``BROKEN``."""
    from numba import float32

    from course.kernels.source import compile_error

    said = []
    try:
        compile_triton(Variant(module.blocks, {"x": FULL}, {"BLOCK": 32}), 75)
    except Exception as error:
        said.append(compile_error(error, module.blocks.fn))
    try:
        compile_numba(module.threads, (float32[::1],))
    except Exception as error:
        said.append(compile_error(error, module.threads.py_func))
    return said


def main() -> None:
    blocks = {}
    for variant in all_variants():
        for cc in variant.targets:
            blocks[variant.name(cc)] = compile_triton(variant, cc) | {"cc": cc}
    wide = {variant.name(90): compile_triton(variant, 90) for variant in within_torch_compile()}
    threads = {}
    for kernel, types in numba_kernels():
        name = f"{kernel.py_func.__module__}.{kernel.py_func.__name__}"
        threads[name] = compile_numba(kernel, types)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "broken.py"
        path.write_text(BROKEN)
        spec = importlib.util.spec_from_file_location("broken", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found = {"triton": blocks, "within torch.compile": wide, "numba": threads}
        print(json.dumps(found | {"refused": refused(module)}))


if __name__ == "__main__":
    os.environ["TRITON_DEFAULT_FP_FUSION"] = "1"  # Triton 3.9 warns where it is not set
    main()
