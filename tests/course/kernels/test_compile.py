"""The kernels compile for GPUs; no GPU is needed for that."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from course.kernels import environment

ROOT = Path(__file__).parents[3]
# Bytes of shared memory that a program may have, by compute capability.
SHARED = {75: 64 * 1024, 90: 227 * 1024}


@pytest.fixture(scope="module")
def compiled() -> dict:
    try:
        environment.require(["numba", "triton"])
    except environment.Unavailable as missing:
        pytest.skip(str(missing))
    names = {
        name: value for name, value in os.environ.items() if name not in environment.SIMULATORS
    }
    command = [sys.executable, "-m", "tests.helpers.compiling"]
    result = subprocess.run(command, capture_output=True, text=True, env=names)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def written() -> set[str]:
    """Names of the Triton kernels of the course; what kernels call is compiled as part of them."""
    names = set()
    for folder in ("kernels", "exercises"):
        for path in (ROOT / "course" / folder).glob("*.py"):
            text = path.read_text()
            for name in re.findall(r"^@triton\.jit\ndef (\w+)", text, re.MULTILINE):
                if not re.search(rf"(?<!def )\b{name}\(", text):
                    names.add(f"course.{folder}.{path.stem}.{name}")
    return names


@pytest.mark.slow
def test_every_kernel_compiles(compiled: dict) -> None:
    """Triton's for compute capabilities 7.5 and 9.0, numba's for 7.5."""
    for cc in SHARED:
        found = {name.split()[0] for name, code in compiled["triton"].items() if code["cc"] == cc}
        assert found == written()
    assert min(code["size"] for code in compiled["triton"].values()) > 1000
    assert len(compiled["numba"]) == 11
    assert min(compiled["numba"].values()) > 1000


@pytest.mark.slow
def test_numbers_of_torch_compile_are_not_calculated_with(compiled: dict) -> None:
    """It passes a Python number as float64, in which a GPU is slow."""
    found = {name: code["doubles"] for name, code in compiled["within torch.compile"].items()}
    assert {name.split()[0].rpartition(".")[2] for name in found} == {
        "layer_norm_kernel",
        "forward_kernel",
        "backward_kernel",
        "decode_kernel",
        "attention_kernel",
        "gradient_of_keys_kernel",
        "gradient_of_queries_kernel",
    }
    assert not any(found.values())
    assert not any(code["doubles"] for code in compiled["triton"].values())


@pytest.mark.slow
def test_shared_memory_suffices(compiled: dict) -> None:
    too_large = {
        name: code["shared"]
        for name, code in compiled["triton"].items()
        if code["shared"] > SHARED[code["cc"]]
    }
    assert not too_large


@pytest.mark.slow
def test_kernels_stay_within_registers(compiled: dict) -> None:
    """In bfloat16 on 9.0, for which the configs were chosen; of a tuned kernel, one of them."""
    stacks: dict[str, list[int]] = {}
    for name, code in compiled["triton"].items():
        kernel, cc, kind, *_ = name.split()
        if (cc, kind) == ("90", "*bf16"):
            stacks.setdefault(kernel, []).append(code["stack"])
    assert len(stacks) == 11
    assert {kernel: min(found) for kernel, found in stacks.items()} == dict.fromkeys(stacks, 0)


@pytest.mark.slow
def test_a_compile_error_has_the_learners_line(compiled: dict) -> None:
    of_triton, of_numba = compiled["refused"]
    assert "missing" in of_triton
    assert of_triton.endswith("(line 10: tl.store(x + i, missing))")
    assert "add(float32, Literal[str](one))" in of_numba
    assert of_numba.endswith("(line 14: def threads(x):)")
