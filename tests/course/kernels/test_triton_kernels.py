"""The course's Triton kernels of steps 31 to 34: results and gradients are torch's."""

import subprocess
import sys

import pytest

from course.catalogue import find, read
from tests.helpers.kernels import require


@pytest.mark.slow
def test_results_and_gradients_are_torchs(device: str) -> None:
    require(find(read(), "row-reductions"))
    checks = ("rows", "tiles", "matmul", "cross_entropy", "attention", "decode", "residual")
    command = [sys.executable, "-m", "tests.helpers.triton_kernels", *checks]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
