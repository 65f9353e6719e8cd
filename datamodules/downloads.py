"""What the data sets that torchvision downloads share."""

import os
from pathlib import Path


def check_root(root: str) -> None:
    """Raises ValueError where a folder of downloads cannot be made or written."""
    nearest = Path(root).absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise ValueError(
            f"the data root {root} cannot be a folder, because {nearest} is a file; name another "
            "with --data.init_args.root"
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(
            f"the data root {root} cannot be written ({nearest} is read-only for you); name "
            "another with --data.init_args.root"
        )


def one_line(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing.

    Of several lines those are the first, which says what failed, and the last, which says why.
    """
    lines = [line.strip() for line in str(error).strip().splitlines()]
    return " ".join(lines[:1] + lines[1:][-1:]) or type(error).__name__
