"""Clients of npm, from the folder that GPU_LEARNING_NODE_CLIENTS names."""

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.serving.clients.conftest import QUESTION, TOKENS, Expected, Pet

SOURCES = Path(__file__).parent / "javascript"
PROGRAMS = {"openai": "openai", "ollama": "ollama", "@ai-sdk/openai-compatible": "ai-sdk"}
FOLDER = os.environ.get("GPU_LEARNING_NODE_CLIENTS")

pytestmark = [
    pytest.mark.skipif(
        shutil.which("node") is None or not FOLDER,
        reason="needs node, and in GPU_LEARNING_NODE_CLIENTS the absolute path of a folder with a "
        "copy of tests/serving/clients/javascript/package.json, in which npm install was run",
    ),
    pytest.mark.parametrize("package", PROGRAMS),
]


@cache
def _run(package: str, folder: str, url: str) -> dict[str, Any]:
    """Node finds packages beside a program, so the programs are copied to them."""
    programs = Path(folder) / "gpu_learning"
    shutil.copytree(SOURCES, programs, dirs_exist_ok=True)
    asked = json.dumps({"url": url, "question": QUESTION, "tokens": TOKENS})
    command = ["node", str(programs / f"{PROGRAMS[package]}.mjs"), asked]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def found(package: str, expected: Expected) -> dict[str, Any]:
    assert FOLDER is not None
    return _run(package, FOLDER, expected.url)


def test_chat(found: dict[str, Any], expected: Expected) -> None:
    assert found["chat"] == expected.text


def test_stream(found: dict[str, Any], expected: Expected) -> None:
    assert len(found["stream"]) > 2
    assert "".join(found["stream"]) == expected.text


def test_embeddings(found: dict[str, Any], expected: Expected) -> None:
    for row, vector in zip(found["embeddings"], expected.vectors, strict=True):
        assert row == pytest.approx(vector, abs=1e-6)


def test_schema(found: dict[str, Any]) -> None:
    Pet.model_validate(found["schema"])


def test_unknown_model(found: dict[str, Any]) -> None:
    assert "model 'nobody' not found" in found["unknown"]["message"]
    assert found["unknown"]["status"] == 404
