"""Checkpoint files that survive a kill, a full disk and a power cut."""

import glob
import io
import os
import uuid
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import TorchCheckpointIO
from typing_extensions import override

SUFFIX = ".unfinished"


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target, flushes it to the disk and then renames it.

    Lightning's own writes into the system's temporary folder and moves the file. Where that folder
    is another file system the move is a copy, which a kill cuts short, and without a flush a power
    cut can leave an empty file under the new name. Here the target is the old checkpoint or the
    new one at every moment. The first write of a run removes what a killed one left unfinished.

    Sharded checkpoints, which FSDP and ModelParallelStrategy write as folders, do not pass through
    a CheckpointIO. Paths with a protocol, such as ``s3://``, are left to Lightning.

    Raises:
        ValueError: the file cannot be written; the checkpoint that was there is unchanged.

    Example::

        trainer = pl.Trainer(callbacks=[BestAndLast()], plugins=[DurableCheckpointIO()])
    """

    def __init__(self) -> None:
        self._begun: set[Path] = set()  # targets, and folders whose own names are on the disk

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        self._put(Path(path).absolute(), buffer.getbuffer())

    def copy_checkpoint(self, source: str | Path, target: str | Path) -> None:
        """Writes a checkpoint once more, without building it a second time."""
        self._put(Path(target).absolute(), memoryview(Path(source).read_bytes()))

    def _put(self, target: Path, data: memoryview) -> None:
        try:
            self._write(target, data)
        except OSError as error:
            raise ValueError(
                f"{target.name} cannot be written to {target.parent} ({error.strerror}); a "
                "checkpoint that was there is unchanged. Free space or allow writing there, or "
                "name another folder with --trainer.logger.init_args.save_dir"
            ) from error

    def _write(self, target: Path, data: memoryview) -> None:
        folder = target.parent
        if target not in self._begun:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(f".{glob.escape(target.name)}.*{SUFFIX}"):
                left.unlink()
        temporary = folder / f".{target.name}.{uuid.uuid4().hex}{SUFFIX}"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        # A folder of the run may be new itself, and then stands in the one above it.
        for above in (folder,) if folder in self._begun else (folder, *folder.parents):
            _flush_folder(above)
        self._begun |= {target, folder}


def _flush_folder(folder: Path) -> None:
    """Flushes the names in a folder to the disk; one that is not ours to write has no new ones."""
    if os.name == "nt" or not os.access(folder, os.R_OK | os.W_OK):
        return  # Windows opens no folders
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
