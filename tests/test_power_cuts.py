"""What was reported as written is there after a power cut, whole, and nothing is half written."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import pytest
import torch

from inference.manifest import read_manifest
from tests.conftest import ROOT
from tests.helpers.power import Disk

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a file"),
]

# Each writes the next version again and again and reports it when the call has returned.
CHECKPOINTS = """
import sys
from pathlib import Path
import torch
from training.checkpoint_io import DurableCheckpointIO
root = Path(sys.argv[1])
for run in range(10_000):
    writer = DurableCheckpointIO()
    for step in range(3):
        target = root / f"run{run % 20}_{run}" / "checkpoints" / "last.ckpt"
        writer.save_checkpoint({"step": step, "weights": torch.full((20_000,), step)}, target)
        print(target.relative_to(root), step, flush=True)
    if run >= 3:
        for path in (root / f"run{(run - 3) % 20}_{run - 3}").rglob("*.ckpt"):
            path.unlink()
"""
ARTIFACTS = """
import sys
from pathlib import Path
from exporting.commit import building, put_in_place
from tests.exporting.test_commit import NEW, write_artifact
folder = Path(sys.argv[1]) / "models" / "net"
for version in range(10_000):
    with building(folder) as build:
        write_artifact(build, f"{version}:" + "x" * 100_000, NEW)
        put_in_place(build, folder)
    print("models/net", version, flush=True)
"""


class Writer:
    """A process that reports what it has written."""

    def __init__(self, code: str, root: Path) -> None:
        command = [sys.executable, "-c", code, str(root)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self._lines: Queue[str] = Queue()
        self.written: dict[str, int] = {}
        self._thread = Thread(target=self._collect)
        self._thread.start()

    def _collect(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def take(self, seconds: float) -> None:
        """Takes down what is reported within some seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                name, version = self._lines.get(timeout=left).split()
            except Empty:
                return
            self.written[name] = int(version)


@contextmanager
def _writing(code: str, folder: Path) -> Iterator[tuple[Writer, Disk]]:
    with Disk(folder).mounted() as disk:
        writer = Writer(code, disk.root)
        try:
            while not writer.written:
                assert writer.process.poll() is None
                writer.take(0.2)
            yield writer, disk
        finally:
            writer.close()


def test_checkpoints(tmp_path: Path) -> None:
    chance = random.Random(0)
    first = found = 0
    with _writing(CHECKPOINTS, tmp_path) as (writer, disk):
        for _ in range(40):
            writer.written.clear()
            writer.take(chance.uniform(0.0, 0.3))
            with disk.after_a_cut(writer.process.pid) as root:
                kept = dict(list(writer.written.items())[-3:])
                for name, version in kept.items():
                    checkpoint = torch.load(root / name, weights_only=True)
                    assert checkpoint["step"] >= version, name
                    assert checkpoint["weights"].eq(checkpoint["step"]).all()
                    assert len(checkpoint["weights"]) == 20_000
                    first += version == 0
                    found += 1
    assert found >= 40
    assert first >= 3


def test_artifacts(tmp_path: Path) -> None:
    chance = random.Random(0)
    versions = set()
    with _writing(ARTIFACTS, tmp_path) as (writer, disk):
        for _ in range(20):
            writer.take(chance.uniform(0.0, 0.3))
            with disk.after_a_cut(writer.process.pid) as root:
                folder = root / "models" / "net"
                read_manifest(folder).check()
                found = {
                    int(path.read_text().partition(":")[0])
                    for path in folder.rglob("*")
                    if path.is_file() and path.name != "manifest.json"
                }
                assert len(found) == 1
                assert found.pop() >= writer.written["models/net"]
                versions.add(writer.written["models/net"])
    assert len(versions) > 10
