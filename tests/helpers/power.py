"""A disk that loses its power: a file system in a file, and copies of that file at a moment."""

import filecmp
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SIZE = 24 << 20


class Disk:
    """An ext4 file system, mounted at ``root``, that is kept in one file.

    The file holds what was flushed to the disk and what the kernel has written back by itself;
    everything else is in memory alone, and a power cut loses it.
    """

    def __init__(self, folder: Path) -> None:
        self._file, self.root = folder / "disk.img", folder / "disk"
        with self._file.open("wb") as file:
            file.truncate(SIZE)

    @contextmanager
    def mounted(self) -> Iterator["Disk"]:
        """Skips the test where this process may not mount a file."""
        try:
            _run("mkfs.ext4", "-q", str(self._file))
            _mount(self._file, self.root)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"needs mkfs.ext4 and the right to mount a file: {error}")
        try:
            yield self
        finally:
            _run("umount", "--lazy", str(self.root))

    @contextmanager
    def after_a_cut(self, writer: int) -> Iterator[Path]:
        """What is on the disk if the power fails now, while the process ``writer`` works."""
        copies = [self._file.with_name(f"cut{number}.img") for number in (1, 2)]
        os.kill(writer, signal.SIGSTOP)
        try:
            while True:
                for copy in copies:
                    shutil.copyfile(self._file, copy)
                # Two equal ones: the kernel wrote nothing back meanwhile.
                if filecmp.cmp(*copies, shallow=False):
                    break
            root = self.root.with_name("cut")
            _mount(copies[0], root)
            try:
                yield root
            finally:
                _run("umount", str(root))
        finally:
            os.kill(writer, signal.SIGCONT)


def _mount(file: Path, root: Path) -> None:
    root.mkdir(exist_ok=True)
    _run("mount", "-o", "loop", str(file), str(root))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
