"""A learner's record is whole at every moment."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from course.progress import FILE, Progress


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "exercises"
    assert Progress.read(folder) == Progress(folder)
    progress = Progress(folder, {"tensors": [2, 1]}, {"devices": "0" * 64}, {"line": "mse"})
    progress.write()
    assert Progress.read(folder) == progress
    assert os.listdir(folder) == [FILE]


def test_the_record_is_flushed_under_another_name_before_it_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Progress(tmp_path / "mine", {"tensors": [1]}).write()
    path = tmp_path / "mine" / FILE
    before = path.read_bytes()
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flush(descriptor: int) -> None:
        assert path.read_bytes() == before
        steps.append("flush")
        fsync(descriptor)

    def rename(source: Any, target: Any) -> None:
        assert path.read_bytes() == before
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    progress = Progress(tmp_path / "mine", {"tensors": [1, 2]})
    progress.write()
    assert steps == ["flush", "rename"]
    assert Progress.read(tmp_path / "mine") == progress


def test_a_full_disk_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Progress(tmp_path / "mine", {"tensors": [1]}).write()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match=r"cannot be written \(No space left on device\); allow"):
        Progress(tmp_path / "mine", {"tensors": [1, 2]}).write()
    assert Progress.read(tmp_path / "mine").hints == {"tensors": [1]}
