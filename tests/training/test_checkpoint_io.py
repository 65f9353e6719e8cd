"""Checkpoints are whole at every moment, and on the disk before they have their name."""

import errno
import itertools
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from training.checkpoint_io import DurableCheckpointIO


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is flushed and renamed, in order."""
    made: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def flush(descriptor: int) -> None:
        made.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def rename(source: Any, target: Any) -> None:
        made.append(("rename", f"{source} {target}"))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    return made


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads the paths from /proc")
def test_the_file_is_flushed_before_its_rename_and_the_folder_after(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    target = tmp_path / "run" / "checkpoints" / "last.ckpt"
    DurableCheckpointIO().save_checkpoint({"weights": torch.ones(3)}, target)
    (first, written), (second, moved), *after = calls
    assert (first, second) == ("fsync", "rename")
    assert Path(written).parent == target.parent  # never in the system's temporary folder
    assert moved == f"{written} {target}"
    assert all(kind == "fsync" for kind, _ in after)
    folders = [Path(name) for _, name in after]
    assert folders[:3] == [target.parent, target.parents[1], target.parents[2]]
    assert torch.equal(torch.load(target, weights_only=True)["weights"], torch.ones(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that is empty, where the current folder holds the configs."""
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin, target = DurableCheckpointIO(), folder / "last.ckpt"
    plugin.save_checkpoint({"step": 1}, target)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match=r"last\.ckpt cannot be written .*No space left .*Free"):
        plugin.save_checkpoint({"step": 2}, target)
    assert torch.load(target, weights_only=True) == {"step": 1}
    assert os.listdir(folder) == ["last.ckpt"]


def test_an_interrupted_write_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        DurableCheckpointIO().save_checkpoint({"step": 1}, folder / "last.ckpt")
    assert os.listdir(folder) == []


def test_what_a_killed_write_left_is_removed(folder: Path) -> None:
    left = folder / ".last.ckpt.0123.unfinished"
    left.write_bytes(b"PK half of a checkpoint")
    DurableCheckpointIO().save_checkpoint({"step": 1}, folder / "last.ckpt")
    assert os.listdir(folder) == ["last.ckpt"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_kill_leaves_a_whole_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``GPU_LEARNING_KILLS`` processes are killed while they do little but write checkpoints."""
    if os.access("/dev/shm", os.W_OK):  # another file system than the checkpoints'
        monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
    plugin, target, chance = DurableCheckpointIO(), folder / "last.ckpt", random.Random(0)
    plugin.save_checkpoint({"step": 0, "weights": torch.zeros(2_000_000)}, target)
    unfinished = 0
    for _ in range(int(os.environ.get("GPU_LEARNING_KILLS", "5"))):
        before = target.stat().st_mtime_ns
        if (process := os.fork()) == 0:
            plugin = DurableCheckpointIO()
            for step in itertools.count(1):
                weights = torch.full((2_000_000,), float(step))
                plugin.save_checkpoint({"step": step, "weights": weights}, target)
        while target.stat().st_mtime_ns == before:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.3))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        left = [path for path in folder.iterdir() if path != target]
        unfinished += len(left)
        assert len(left) <= 1  # each process removes what the one before it left
        checkpoint = torch.load(target, weights_only=True)
        assert (checkpoint["weights"] == checkpoint["step"]).all()
    print(f"{unfinished} kills left an unfinished file beside a whole checkpoint")
    DurableCheckpointIO().save_checkpoint({"step": 1}, target)
    assert os.listdir(folder) == ["last.ckpt"]


def test_a_copy_is_a_file_of_its_own(folder: Path, calls: list[tuple[str, str]]) -> None:
    files, best, last = DurableCheckpointIO(), folder / "best.ckpt", folder / "last.ckpt"
    files.save_checkpoint({"step": 1}, last)
    files.save_checkpoint({"step": 2}, best)
    calls.clear()
    files.copy_checkpoint(best, last)
    assert [kind for kind, _ in calls] == ["fsync", "rename", "fsync"]
    assert last.read_bytes() == best.read_bytes()
    assert not last.samefile(best)  # a damaged one leaves the other
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt"]
