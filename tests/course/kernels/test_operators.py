"""The kernels as operators: torch.compile sees their launches, and a model learns the same."""

import json
import os
import subprocess
import sys

import pytest

from course.catalogue import find, read
from course.kernels import environment
from tests.helpers.kernels import require


@pytest.mark.slow
def test_they_are_torchs_functions(device: str) -> None:
    require(find(read(), "your-kernels"))
    command = [sys.executable, "-m", "tests.helpers.triton_kernels", "operators"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_torch_compile_sees_every_launch() -> None:
    """Traced for a GPU, on a machine without one."""
    require(find(read(), "your-kernels"))
    names = {name: v for name, v in os.environ.items() if name not in environment.SIMULATORS}
    command = [sys.executable, "-m", "tests.helpers.traced_operators"]
    result = subprocess.run(command, capture_output=True, text=True, env=names)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["launches"] == {
        "layer_norm": 1,
        "layer_norm_backward": 1,
        "bias_gelu": 1,
        "bias_gelu_backward": 1,
        "attention": 1,
        "attention_backward": 2,  # by keys and values, and by queries
        "residual_norm": 1,
        "residual_norm_backward": 1,
        "linear_cross_entropy": 3,  # five rows of logits, two at a time
    }
    # torch.export keeps an operator whole.
    assert "gpu_learning.layer_norm.default" in found["exported"]
