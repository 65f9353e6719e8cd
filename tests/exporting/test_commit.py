"""The publish step: one artifact or the other, whatever happens, and nothing of the user's lost."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporting import commit
from exporting.commit import (
    building,
    check_target,
    name_by_content,
    put_in_place,
    write_manifest,
)
from inference.manifest import check_folder, read_manifest
from tests.conftest import ROOT

OLD = ("Modelfile", "hf/model.safetensors", "peft/adapter_model.safetensors")
NEW = ("Modelfile", "Modelfile.adapter", "hf/model.safetensors", "merged/config.json")


def write_artifact(folder: Path, content: str, names: tuple[str, ...], schema: int = 2) -> None:
    """An artifact of these files whose parts all hold ``content``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gguf.gguf").write_text(content)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    digest = hashlib.sha256(content.encode()).hexdigest()
    entry = {"bytes": len(content), "sha256": digest}
    files = {"gguf": {"file": name_by_content(folder / "gguf.gguf").name}}
    files |= {name: {"file": name} for name in names if "/" not in name}
    document = {
        "schema": schema,
        "task": "text-generation",
        "input": {"shape": [4], "dtype": "int64"},
        "files": {kind: entry | file | {"device": "any"} for kind, file in files.items()},
    }
    if schema > 1:
        folders: dict = {}
        for kind, name in (name.split("/") for name in names if "/" in name):
            folders.setdefault(kind, {"files": {}})["files"][name] = entry
        document["folders"] = folders
    write_manifest(folder, document)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def publish(folder: Path) -> None:
    with building(folder) as build:
        write_artifact(build, "new", NEW)
        put_in_place(build, folder)


# Each kill in a process of its own, forked, so that torch is not imported a hundred times.
KILLED = """
import os, runpy, shutil, sys
from pathlib import Path
commit = runpy.run_path(sys.argv[1])
root = Path(sys.argv[2])
events = 0
stop = 0
def hook(event, arguments):
    global events
    if event == "open" or event.startswith(("os.", "shutil.", "ctypes.", "fcntl.")):
        events += 1
        if events == stop:
            os._exit(9)
code, moments = 9, 0
while code == 9:
    moments += 1
    folder = root / f"kept{moments}" / "net"
    if not folder.exists():
        break
    if (child := os.fork()) == 0:
        stop = moments
        with commit["building"](folder) as build:
            shutil.copytree(root / "new", build, dirs_exist_ok=True)
            sys.addaudithook(hook)
            commit["put_in_place"](build, folder)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(moments, code)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_a_kill_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """Kills the publish step at every one of its file-system calls, in turn."""
    write_artifact(tmp_path / "new", "new", NEW)
    for moment in range(1, 200):
        folder = tmp_path / f"kept{moment}" / "net"
        write_artifact(folder, "old", OLD)
        (folder / "notes.md").write_text("mine")
    notes = {"notes.md": b"mine"}
    old, new = contents(folder), contents(tmp_path / "new") | notes
    done = subprocess.run(
        [sys.executable, "-c", KILLED, ROOT / "exporting" / "commit.py", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    moments, code = map(int, done.stdout.split())
    assert code == 0
    found = []
    for moment in range(1, moments + 1):
        folder = tmp_path / f"kept{moment}" / "net"
        assert contents(folder) in (old, new), moment
        read_manifest(folder).check()
        found.append(contents(folder) == new)
    assert found == sorted(found)
    assert len(found) > 20
    assert sum(found) > 3  # the exchange is not the last call
    assert not found[0]
    # The next export removes what the killed ones left.
    for moment in range(1, moments + 1):
        folder = tmp_path / f"kept{moment}" / "net"
        publish(folder)
        assert contents(folder) == new
        assert [path.name for path in folder.parent.iterdir()] == ["net"]


def test_without_an_exchange_the_old_one_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two renames, and a kill between them."""
    folder = tmp_path / "models" / "net"
    write_artifact(folder, "old", OLD)
    monkeypatch.setattr(commit, "_exchange", lambda first, second: False)
    publish(folder)
    assert contents(folder)["Modelfile"] == b"new"
    assert [path.name for path in folder.parent.iterdir()] == ["net"]
    place = folder.with_name(".net.build")
    place.mkdir()
    old = contents(folder)
    folder.rename(place / "old")
    with pytest.raises(RuntimeError), building(folder):
        raise RuntimeError
    assert contents(folder) == old


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads the paths from /proc")
@pytest.mark.parametrize("replaces", [False, True])
def test_all_is_flushed_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaces: bool
) -> None:
    folder = tmp_path / "models" / "net"
    folder.parent.mkdir()
    if replaces:
        write_artifact(folder, "old", OLD)
        (folder / "notes.md").write_text("mine")
    flushed: list[Path] = []
    before: list[Path] | None = None
    fsync = os.fsync

    def flush(descriptor: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def moves(function: Callable[..., Any]) -> Callable[..., Any]:
        def move(source: Path, target: Path) -> Any:
            nonlocal before
            if target == folder:
                before = list(flushed)
            return function(source, target)

        return move

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "rename", moves(os.rename))
    monkeypatch.setattr(commit, "_exchange", moves(commit._exchange))
    with building(folder) as build:
        write_artifact(build, "new", NEW)
        put_in_place(build, folder)
    assert before is not None
    found = {path.relative_to(folder) for path in folder.rglob("*")} | {Path()}
    assert {path.relative_to(build) for path in before} == found
    assert flushed[len(before) :] == [folder.parent]


def test_a_file_system_that_cannot_exchange_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Library:
        def renameat2(self, *arguments: object) -> int:
            return -1

    monkeypatch.setattr(commit.ctypes, "CDLL", lambda *names, **options: Library())
    monkeypatch.setattr(commit.ctypes, "get_errno", lambda: errno.EINVAL)
    assert not commit._exchange(tmp_path, tmp_path)
    monkeypatch.setattr(commit.ctypes, "get_errno", lambda: errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        commit._exchange(tmp_path, tmp_path)


def test_one_export_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="locks of files are Unix's")
    models = tmp_path / "models"
    with building(models / "net") as build:
        with (
            pytest.raises(ValueError, match=r"another export is writing .*net; wait until"),
            building(models / "net"),
        ):
            pass
        with building(models / "other"):
            pass
        assert build.is_dir()
    assert not list(models.iterdir())


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"net could not be written, and what was there stays: the disk is full"),
        (errno.EROFS, r"cannot be written to \(Read-only file system\): change that, or"),
        (errno.EACCES, r"cannot be written to \(Permission denied\): change that, or"),
    ],
)
def test_what_the_disk_refuses_is_one_sentence(tmp_path: Path, number: int, message: str) -> None:
    folder = tmp_path / "net"
    write_artifact(folder, "old", OLD)
    before = contents(tmp_path)
    error = OSError(number, os.strerror(number), str(tmp_path / ".net.build" / "new"))
    with pytest.raises(ValueError, match=message) as caught, building(folder):
        raise error
    assert ".net.build" not in str(caught.value)
    assert contents(tmp_path) == before


def test_a_folder_that_is_not_an_artifact_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "gpt2"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="gpt2 was not made by gpu-learning export"):
        publish(folder)
    assert contents(folder) == {"config.json": b"{}"}
    (folder / "config.json").unlink()
    publish(folder)  # an empty one is taken
    assert contents(folder)["Modelfile"] == b"new"


@pytest.mark.parametrize("models", ["file", "file/models"])
def test_a_models_folder_that_is_a_file_is_said_at_once(tmp_path: Path, models: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file is a file; the models folder \(--models\) must"):
        check_target(tmp_path / models / "net")
    check_target(tmp_path / "new" / "models" / "net")


@pytest.mark.parametrize("name", OLD)
def test_every_byte_is_covered(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "net"
    write_artifact(folder, "old", OLD)
    read_manifest(folder).check()
    (folder / name).write_text("olD")
    with pytest.raises(ValueError, match=rf"{Path(name).name} does not have the checksum"):
        read_manifest(folder).check()
    if "/" in name:
        with pytest.raises(ValueError, match="does not have the checksum"):
            check_folder((folder / name).parent)
        check_folder(tmp_path)
        (folder / name).unlink()
        with pytest.raises(ValueError, match="is missing"):
            read_manifest(folder).check()


def test_artifacts_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """They have no checksums of what is in folders."""
    write_artifact(tmp_path / "net", "old", OLD, schema=1)
    manifest = read_manifest(tmp_path / "net")
    manifest.check()
    assert manifest.folders == {}
    check_folder(tmp_path / "net" / "hf")
    path = tmp_path / "net" / "manifest.json"
    document = json.loads(path.read_text()) | {"schema": 4}
    del document["checksum"]
    write_manifest(tmp_path / "net", document)
    with pytest.raises(ValueError, match="has schema 4, this version reads 1 to 3"):
        read_manifest(tmp_path / "net")
