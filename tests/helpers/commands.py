"""Commands that several tests run, and what they check of their outcome."""

from collections.abc import Callable
from pathlib import Path

import torch

DIGITS = ("fit", "-c", "configs/digits_cnn.yaml")


def weights(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of a checkpoint, on the CPU."""
    return torch.load(path, weights_only=True, map_location="cpu")["state_dict"]


def bad(gpu_learning: Callable[..., tuple[int, str, str]], *arguments: str) -> tuple[int, str]:
    """Exit code and the one sentence of a command that must fail."""
    code, _, err = gpu_learning(*arguments)
    assert code != 0
    assert "Traceback" not in err
    said = [line for line in err.splitlines() if line.startswith("gpu-learning: error: ")]
    assert len(said) == 1, err
    return code, said[0]
