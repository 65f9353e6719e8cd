"""Programs of torch.export: what could run code is refused before torch reads it."""

import contextlib
import io
import json
import logging
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from inference.runtimes.program_archive import checked_program

GRAPH = "archive/models/model.json"


class Crafted:
    """A pickle that leaves a file behind where it is read."""

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (Path("ran"),)


@pytest.fixture(scope="module")
def program() -> bytes:
    """The program as ``torch.export.save`` writes it, with example inputs."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval()
    batch = torch.export.Dim("batch", min=1)
    content = io.BytesIO()
    exported = torch.export.export(net, (torch.zeros(2, 1, 4, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, content)
    return content.getvalue()


def changed(program: bytes, entries: dict[str, bytes]) -> bytes:
    """The archive with other entries, or more of them."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(program)) as old, zipfile.ZipFile(result, "w") as new:
        for name in dict.fromkeys([*old.namelist(), *entries]):
            new.writestr(name, entries[name] if name in entries else old.read(name))
    return result.getvalue()


def graph_of(program: bytes) -> str:
    return zipfile.ZipFile(io.BytesIO(program)).read(GRAPH).decode()


def crafted() -> bytes:
    content = io.BytesIO()
    torch.save((Crafted(),), content)
    return content.getvalue()


def test_the_same_outputs_without_what_could_run(program: bytes, workplace: Path) -> None:
    checked = checked_program(program)
    assert checked_program(checked.getvalue()).getvalue() == checked.getvalue()
    archive = zipfile.ZipFile(checked)
    assert archive.read("archive/data/sample_inputs/model.pt") == b""
    assert b"stack_trace" not in archive.read(GRAPH)
    checked.seek(0)
    inputs = torch.randn(5, 1, 4, 4)
    expected = torch.export.load(io.BytesIO(program)).module()(inputs)
    assert torch.equal(torch.export.load(checked).module()(inputs), expected)


def test_a_pickle_of_example_inputs_does_not_run(program: bytes, workplace: Path) -> None:
    content = changed(program, {"archive/data/sample_inputs/model.pt": crafted()})
    with pytest.raises(
        ValueError, match=r"sample_inputs/model\.pt is a pickle of more than tensors"
    ):
        checked_program(content)
    assert not Path("ran").exists()
    logging.getLogger("torch._export.serde.serialize").disabled = True  # a broken record in 2.11
    try:
        torch.export.load(io.BytesIO(content))  # so the file is one that would have
    finally:
        logging.getLogger("torch._export.serde.serialize").disabled = False
    assert Path("ran").exists()


@pytest.mark.parametrize("path", ["weight_0", "../sample_inputs/model.pt", "custom_obj_0"])
def test_a_pickled_weight_does_not_run(program: bytes, path: str, workplace: Path) -> None:
    name = "archive/data/weights/model_weights_config.json"
    config = json.loads(zipfile.ZipFile(io.BytesIO(program)).read(name))
    first = next(iter(config["config"].values()))
    first |= {"use_pickle": True, "path_name": path}
    entries = {name: json.dumps(config).encode(), "archive/data/weights/weight_0": crafted()}
    with pytest.raises(ValueError, match=r"pickle of more than tensors|is not a tensor"):
        checked_program(changed(program, entries))
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "name",
    [
        "archive/data/constants/custom_obj_0",
        "archive/data/aotinductor/model/model.so",
        "archive/extra/notes",
        "version",
    ],
)
def test_other_entries_are_refused(program: bytes, name: str) -> None:
    with pytest.raises(ValueError, match=r"neither a tensor nor a graph|not an archive"):
        checked_program(changed(program, {name: pickle.dumps(Crafted())}))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("torch.ops.aten.relu.default", "torch.os.system", "calls 'torch.os.system'"),
        ("torch.ops.aten.relu.default", "torch.hub.load", "calls 'torch.hub.load'"),
        ("torch.ops.aten.relu.default", "torch.ops.aten.from_file.default", "from_file"),
        ("torch.ops.aten.relu.default", "_operator.attrgetter", "attrgetter"),
        ("Symbol('s", "exec('s", "size in it is computed by"),
        ("Symbol('s", "().__class__ or Symbol('s", "size in it is computed by"),
        ("builtins.tuple", "collections.namedtuple", "inputs or outputs are"),
    ],
)
def test_a_graph_that_runs_code_is_refused(
    program: bytes, old: str, new: str, message: str
) -> None:
    graph = graph_of(program)
    assert old in graph
    with pytest.raises(ValueError, match=message):
        checked_program(changed(program, {GRAPH: graph.replace(old, new).encode()}))


def test_guards_are_not_compiled(program: bytes, workplace: Path) -> None:
    """torch.export compiles them from source when the program becomes a module."""
    graph = json.loads(graph_of(program)) | {"guards_code": ["open('ran', 'w') is not None"]}
    checked = checked_program(changed(program, {GRAPH: json.dumps(graph).encode()}))
    torch.export.load(checked).module()(torch.zeros(2, 1, 4, 4))
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04.", bytes(100)])
def test_something_else_is_one_sentence(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"is not an archive of torch.export.save"):
        checked_program(content)


def test_damage_anywhere_is_a_sentence(program: bytes) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        content = bytearray(program)
        for place in torch.randint(len(content), (20,), generator=generator).tolist():
            content[place] ^= 0x55
        with contextlib.suppress(ValueError):  # any other error fails
            checked_program(bytes(content))
