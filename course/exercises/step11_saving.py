"""Exercise for step 11, saving and loading: a file of what was learned.

``net.state_dict()`` is a dictionary from names to tensors: all that was
learned, without the code. A file of it can be read with ``torch.load(path,
weights_only=True)``, which builds tensors and runs no code of the file. To use
it, make a net of the same class and load the dictionary into it.

Write both functions, then: gpu-learning lessons check 11
"""

import torch
from torch import nn


def save(net: nn.Module, path: str) -> None:
    """Writes the weights of ``net``, and nothing else, to ``path``."""
    # BEGIN SOLUTION
    torch.save(net.state_dict(), path)
    # END SOLUTION


def load(net: nn.Module, path: str) -> nn.Module:
    """Loads the weights of ``path`` into ``net``, on the CPU.

    Returns:
        ``net``, in eval mode.
    """
    # BEGIN SOLUTION
    net.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return net.eval()
    # END SOLUTION


# BEGIN HIDDEN TESTS
import pickle  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from course.exercises.compare import Wrong  # noqa: E402

HINTS = (
    "torch.save(what, path) writes what it is given; give it net.state_dict(), not net.",
    "torch.load returns the dictionary; net.load_state_dict(dictionary) puts it into the net.",
    "net.eval() switches dropout off and returns the net itself.",
)
ABOUT = ("save", "load", "load")


def check(mine: Attempt) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, width in enumerate((4, 8)):
            net, path = _net(width), str(Path(folder, f"{number}.pth"))
            mine.call("save", net, path, shown="save(net, path)")
            _look_at(mine, net, path)
            torch.save(net.state_dict(), path)
            loaded = mine.call("load", _net(width), path, shown="load(net, path)")
            mine.equal(loaded, net.eval(), "the net that load returns")


def _net(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.Dropout(0.5), nn.Linear(width, 2))


def _look_at(mine: Attempt, net: nn.Module, path: str) -> None:
    if not Path(path).is_file():
        raise Wrong("save(net, path) writes no file at path; torch.save(what, path) does")
    try:
        written = torch.load(path, weights_only=True)
    except pickle.UnpicklingError as error:
        raise Wrong(
            "save(net, path) writes more than tensors, the net's class for example, and the file "
            "cannot be read with weights_only=True; save net.state_dict()"
        ) from error
    except (RuntimeError, EOFError) as error:
        raise Wrong("save(net, path) writes a file that torch.load cannot read") from error
    mine.equal(written, dict(net.state_dict()), "the dictionary in the file of save")


# END HIDDEN TESTS
