"""Exercise for step 5, devices: code that runs wherever its tensors are.

An operation needs its operands on one device. Code that writes "cuda" fails on
a machine without a GPU, and code that makes a new tensor without a device
makes it on the CPU. So one asks once which device there is, and makes new
tensors where the given ones are. The check also uses torch's device "meta",
whose tensors have shapes and no values: so your code meets two devices on any
machine.

Write the three functions, then: gpu-learning lessons check 5
"""

from typing import Any

import torch
from torch import Tensor


def pick_device() -> torch.device:
    """The GPU ("cuda") where torch sees one, otherwise the CPU."""
    # BEGIN SOLUTION
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # END SOLUTION


def positions(ids: Tensor) -> Tensor:
    """0 to T - 1 for tokens (B, T): int64 (T,), on the device of ids."""
    # BEGIN SOLUTION
    return torch.arange(ids.shape[1], device=ids.device)
    # END SOLUTION


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """A new dictionary: tensors are on ``device``, the rest is as it was."""
    # BEGIN SOLUTION
    return {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }
    # END SOLUTION


# BEGIN HIDDEN TESTS
from course.exercises.attempt import Attempt  # noqa: E402

HINTS = (
    "torch.cuda.is_available() tells whether there is a GPU; torch.device('cpu') makes a device.",
    "torch.arange takes device=, and ids.device says where ids is.",
    "tensor.to(device) returns the tensor on that device and leaves the old one where it is; put "
    "what it returns into a new dictionary. isinstance(value, Tensor) tells tensors from the rest.",
)
ABOUT = ("pick_device", "positions", "to_device")

MISTAKES = {
    "positions": {
        "positions count from 0": lambda ids: torch.arange(1, ids.shape[1] + 1, device=ids.device),
        "that is one per row; the tokens are in dimension 1": lambda ids: torch.arange(
            ids.shape[0], device=ids.device
        ),
    },
}


def check(mine: Attempt) -> None:
    mine.same("pick_device")
    for device in (torch.device("cpu"), torch.device("meta"), pick_device()):
        mine.same("positions", torch.zeros(2, 3, dtype=torch.long).to(device))
        mine.same("positions", torch.zeros(3, 3, dtype=torch.int32).to(device))
        batch = {"image": torch.randn(2, 3), "label": torch.arange(2), "name": "digits"}
        mine.same("to_device", batch, device)


# END HIDDEN TESTS
